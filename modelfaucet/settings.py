"""Django settings. Everything that differs between machines comes from `modelfaucet.env`."""

import sys
from urllib.parse import urlsplit

import dj_database_url
import dj_email_url

from modelfaucet import embedded, env

BASE_DIR = env.BASE_DIR
SECRET_KEY = env.SECRET_KEY
DEBUG = env.DEBUG
ALLOWED_HOSTS = list(env.ALLOWED_HOSTS)
CSRF_TRUSTED_ORIGINS = list(env.CSRF_TRUSTED_ORIGINS)

ROOMS = [
    "apps.console",
    "apps.gateway",
    "apps.billing",
    "apps.usage",
    "apps.ledger",
    "apps.vault",
    "apps.features",
    "apps.developers",
    "apps.catalog",
    "apps.core",
]
INSTALLED_APPS = [
    "modelfaucet",
    *ROOMS,
    "modelfaucet.admin.OperatorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "channels",
    "rest_framework",
    "encrypted_model_fields",
]
if sys.argv[1:2] == ["runserver"]:
    # Its command serves ASGI in development, and only there: it costs every process that loads it 27 MB.
    INSTALLED_APPS.insert(0, "daphne")
if env.STRIPE_ENABLED:
    INSTALLED_APPS.insert(0, "djstripe")  # before billing, whose admin takes some of its pages away
    DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]
ROOT_URLCONF = "modelfaucet.urls"
ASGI_APPLICATION = "modelfaucet.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": dj_database_url.parse(env.DATABASE_URL or embedded.database_url(env.VAR_DIR))}
DATABASES["default"]["ENGINE"] = "apps.core.postgresql"  # Django's, with a pool that gets over an outage at once
# Under ASGI a connection kept per thread is never given back: CONN_MAX_AGE stays 0 and psycopg pools.
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # a connection that died with the server is not handed out
# A low reconnect_timeout: the pauses between attempts double until then, and would outlast an outage by its own length.
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
    "min_size": 1,
    "max_size": 8,
    "timeout": 5,
    "reconnect_timeout": 2,
}
# A host that is gone answers nothing, and TCP alone takes a quarter of an hour to say so. Seconds; ms the last.
DATABASES["default"]["OPTIONS"] |= {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if env.REDIS_URL:
    from redis.asyncio.retry import Retry  # here: 6 MB that nobody needs without a Redis
    from redis.backoff import NoBackoff

    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": env.REDIS_URL}}
    # Whoever waits for a message gives up after two seconds; sent again, it would be there twice.
    _PATIENCE = {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)}
    CHANNEL_LAYERS = {
        "default": {
            # Messages pass through and are never stored; what they say is encrypted all the same.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [{"address": env.REDIS_URL, **_PATIENCE}],
                "symmetric_encryption_keys": [f"channel layer:{env.SECRET_KEY}"],
            },
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

FIELD_ENCRYPTION_KEY = [key.strip() for key in env.FIELD_ENCRYPTION_KEYS.split(",") if key.strip()]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "apps.console.accounts.LengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]

# Accounts of people, by django-allauth: signed in by address or, for operators made on the command line, by name.
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "console:home"
LOGOUT_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "apps.console.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if env.EMAIL_VERIFICATION else "optional"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = env.EMAIL_VERIFICATION
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[ModelFaucet] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if env.EMBEDDED else "https"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = True
MFA_ADAPTER = "apps.vault.second_factors.SecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "ModelFaucet"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = env.EMBEDDED  # localhost
USERSESSIONS_TRACK_ACTIVITY = False  # it would write a row with every page
SOCIALACCOUNT_ONLY = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False  # an issuer that does not verify addresses could take accounts over
SOCIALACCOUNT_PROVIDERS = (
    {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "sso",
                    "name": env.OIDC_NAME,
                    "client_id": env.OIDC_CLIENT_ID,
                    "secret": env.OIDC_CLIENT_SECRET,
                    "settings": {"server_url": env.OIDC_ISSUER},
                }
            ],
        }
    }
    if env.OIDC_ISSUER
    else {}
)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.EMAIL_FROM
if env.EMAIL_URL:
    vars().update(dj_email_url.parse(env.EMAIL_URL))
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = env.VAR_DIR / "mail"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "modelfaucet" / "locale"]
FORMAT_MODULE_PATH = "modelfaucet.formats"
TIME_ZONE = env.TIME_ZONE
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = env.VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
if not DEBUG:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
    }
WHITENOISE_USE_FINDERS = env.EMBEDDED  # the demo needs no collectstatic
if env.EMBEDDED:
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a directory that is not there

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "apps.gateway.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

# Where a form of ours may lead, at once or by a redirect: browsers check both.
FORM_TARGETS = ["'self'"]
if env.OIDC_ISSUER:
    FORM_TARGETS.append("{0.scheme}://{0.netloc}".format(urlsplit(env.OIDC_ISSUER)))
if env.STRIPE_ENABLED:
    FORM_TARGETS += ["https://checkout.stripe.com", "https://connect.stripe.com"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": FORM_TARGETS,
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# TLS and its policy are the proxy's, which knows which names are served only so.
# W002 of dj-stripe is of STRIPE_API_HOST, which always stands here.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "djstripe.W002"]
SESSION_COOKIE_HTTPONLY = True
if not env.EMBEDDED:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.TRUSTED_PROXIES else None

CELERY_BROKER_URL = env.CELERY_BROKER_URL or env.REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_SERIALIZER = "json"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "apps.core.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "httpx": {"level": "WARNING"},  # a line per request otherwise
        "stripe": {"level": "WARNING"},  # the same, and what it says stands in our own line
    },
}

# What the rooms read, under the variables' own names: rooms do not import `modelfaucet`.
EMBEDDED = env.EMBEDDED
REDIS_URL = env.REDIS_URL
VAR_DIR = env.VAR_DIR
PORT = env.PORT
WEB_PROCESSES = env.WEB_PROCESSES
PUBLIC_BASE_URL = env.PUBLIC_BASE_URL
TRUSTED_PROXIES = env.TRUSTED_PROXIES
TOKEN_PEPPER = env.TOKEN_PEPPER
OPERATOR_TOKEN = env.OPERATOR_TOKEN
SIGNUP = env.SIGNUP
EMAIL_VERIFICATION = env.EMAIL_VERIFICATION
SUPPORT_EMAIL = env.SUPPORT_EMAIL
SECURITY_EMAIL = env.SECURITY_EMAIL
ABUSE_EMAIL = env.ABUSE_EMAIL
INCIDENT_URL = env.INCIDENT_URL
ADMIN_SECOND_FACTOR = env.ADMIN_SECOND_FACTOR
MAX_BODY_BYTES = env.MAX_BODY_BYTES
BODY_MEMORY_BYTES = env.BODY_MEMORY_BYTES
BODY_TIMEOUT = env.BODY_TIMEOUT
CONNECT_TIMEOUT = env.CONNECT_TIMEOUT
FIRST_BYTE_TIMEOUT = env.FIRST_BYTE_TIMEOUT
IDLE_TIMEOUT = env.IDLE_TIMEOUT
REQUEST_DEADLINE = env.REQUEST_DEADLINE
BREAKER_FAILURES = env.BREAKER_FAILURES
BREAKER_COOLDOWN = env.BREAKER_COOLDOWN
BREAKER_MAX_COOLDOWN = env.BREAKER_MAX_COOLDOWN
HEALTH_FAILURES = env.HEALTH_FAILURES
READER_TIMEOUT = env.READER_TIMEOUT
DRAIN_SECONDS = env.DRAIN_SECONDS
CACHE_EMBEDDING_MODEL = env.CACHE_EMBEDDING_MODEL
HOLD_LEASE = env.HOLD_LEASE
SETTLE_TIMEOUT = env.SETTLE_TIMEOUT
SESSION_TTL = env.SESSION_TTL
HOLD_PATIENCE = env.HOLD_PATIENCE
RETRIES = env.RETRIES
RETRY_PATIENCE = env.RETRY_PATIENCE
HOLDS_ASYNC_COMMIT = env.HOLDS_ASYNC_COMMIT
EPOCH_POLL = env.EPOCH_POLL
IDEMPOTENCY_TTL = env.IDEMPOTENCY_TTL
SESSIONS_PER_ADDRESS = env.SESSIONS_PER_ADDRESS
MAX_PROVIDER_KEYS = env.MAX_PROVIDER_KEYS
PROVIDER_KEY_CHECKS = env.PROVIDER_KEY_CHECKS
LOCAL_REPORTS_PER_USER = env.LOCAL_REPORTS_PER_USER
MAX_BUDGETS = env.MAX_BUDGETS
BUDGET_CHANGES = env.BUDGET_CHANGES
OUTBOUND_PRIVATE_ENDPOINTS = env.OUTBOUND_PRIVATE_ENDPOINTS
INFRA_COST_NANO_USD = env.INFRA_COST_NANO_USD
PAYMENT_COST_BPS = env.PAYMENT_COST_BPS
EXPORTS_AT_ONCE = env.EXPORTS_AT_ONCE
RECONCILE_GRACE = env.RECONCILE_GRACE
PROVIDER_TOLERANCE_BPS = env.PROVIDER_TOLERANCE_BPS
PROVIDER_TOLERANCE_NANO_USD = env.PROVIDER_TOLERANCE_NANO_USD
MAX_BALANCE_USD = env.MAX_BALANCE_USD
MAX_DEVELOPER_BALANCE_USD = env.MAX_DEVELOPER_BALANCE_USD
DAILY_SPEND_USD = env.DAILY_SPEND_USD
LOW_BALANCE_USD = env.LOW_BALANCE_USD
CREDIT_EXPIRY_NOTICE_DAYS = env.CREDIT_EXPIRY_NOTICE_DAYS
PROMO_ATTEMPTS = env.PROMO_ATTEMPTS
FINGERPRINT_DAYS = env.FINGERPRINT_DAYS
ALLOWANCES_PER_FINGERPRINT = env.ALLOWANCES_PER_FINGERPRINT
ALLOWANCES_PER_NETWORK = env.ALLOWANCES_PER_NETWORK
RISK_ALERT_LIMIT = env.RISK_ALERT_LIMIT
RISK_SUSPEND_LIMIT = env.RISK_SUSPEND_LIMIT
RISK_THROTTLE_RPM = env.RISK_THROTTLE_RPM
RISK_SUBJECTS = env.RISK_SUBJECTS
RATING_INTERVAL = env.RATING_INTERVAL
DEMO = env.DEMO
DEMO_PROVIDER_PORT = env.DEMO_PROVIDER_PORT
OPENAI_BASE_URL = env.OPENAI_BASE_URL
OPENAI_API_KEY = env.OPENAI_API_KEY
OPENAI_MODEL = env.OPENAI_MODEL
STRIPE_ENABLED = env.STRIPE_ENABLED
STRIPE_SECRET_KEY = env.STRIPE_SECRET_KEY
STRIPE_WEBHOOK_SECRET = env.STRIPE_WEBHOOK_SECRET
STRIPE_CONNECT_WEBHOOK_SECRET = env.STRIPE_CONNECT_WEBHOOK_SECRET
STRIPE_API_VERSION = env.STRIPE_API_VERSION
STRIPE_API_HOST = env.STRIPE_API_HOST
STRIPE_TIMEOUT = env.STRIPE_TIMEOUT
STRIPE_TOLERANCE = env.STRIPE_TOLERANCE
STRIPE_LIVEMODE = "_live_" in env.STRIPE_SECRET_KEY[:8]
TOP_UP_PRESETS_USD = env.TOP_UP_PRESETS_USD
TOP_UP_MIN_USD = env.TOP_UP_MIN_USD
TOP_UP_MAX_USD = env.TOP_UP_MAX_USD
TOP_UP_RATE = env.TOP_UP_RATE
STRIPE_AUTOMATIC_TAX = env.STRIPE_AUTOMATIC_TAX
STRIPE_EVENT_DAYS = env.STRIPE_EVENT_DAYS
REFUND_DAYS = env.REFUND_DAYS
DISPUTE_WRITE_OFF_DAYS = env.DISPUTE_WRITE_OFF_DAYS
PAYOUT_HOLD_DAYS = env.PAYOUT_HOLD_DAYS
PAYOUT_TRUSTED_HOLD_DAYS = env.PAYOUT_TRUSTED_HOLD_DAYS
PAYOUT_RESERVE_BPS = env.PAYOUT_RESERVE_BPS
PAYOUT_RESERVE_DAYS = env.PAYOUT_RESERVE_DAYS
PAYOUT_PERIOD = env.PAYOUT_PERIOD
PAYOUT_MINIMUM_USD = env.PAYOUT_MINIMUM_USD
PAYOUT_CHANGES = env.PAYOUT_CHANGES
PAYOUT_RISK_LIMIT = env.PAYOUT_RISK_LIMIT
PAYOUT_SECOND_APPROVAL_USD = env.PAYOUT_SECOND_APPROVAL_USD
DEFAULT_PLAN = env.DEFAULT_PLAN
PLAN_INTERVAL = env.PLAN_INTERVAL
SUBSCRIPTION_GRACE_DAYS = env.SUBSCRIPTION_GRACE_DAYS
VALUE_SHARE_BPS = env.VALUE_SHARE_BPS
VALUE_BASE_FEE_USD = env.VALUE_BASE_FEE_USD
STARTER_CREDIT_USD = env.STARTER_CREDIT_USD
STARTER_CREDIT_DAYS = env.STARTER_CREDIT_DAYS
APP_MARKUP_BPS = env.APP_MARKUP_BPS
APP_SHARE_BPS = env.APP_SHARE_BPS
DEVELOPERS_SET_PRICES = env.DEVELOPERS_SET_PRICES
