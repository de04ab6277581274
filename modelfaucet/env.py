"""The only reader of the environment: one typed attribute per variable, each with its description.

A secret may also come from a file named by ``NAME_FILE``. `tests/test_docs.py` asserts that every
variable declared here stands in `.env.example` and in `docs/reference/settings.md`.
"""

import base64
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Variable:
    """One environment variable, as documented: its name, its default as text, what it does."""

    name: str
    default: str
    help: str
    secret: bool = False


VARIABLES: dict[str, Variable] = {}


class EnvironmentProblem(SystemExit):
    """A variable holds something that cannot be read; the message names it and what it takes.

    A SystemExit, so that every program that reads the environment ends with that one line.
    """


def _raw(name: str, default: str, help: str, *, secret: bool = False) -> str:
    VARIABLES[name] = Variable(name, default, help, secret)
    value = os.environ.get(name)
    if value is None and secret and (path := os.environ.get(f"{name}_FILE")):
        try:
            value = Path(path).read_text().strip()
        except OSError as error:
            raise EnvironmentProblem(f"{name}_FILE={path}: {error.strerror}") from error
    return default if value is None else value


def text(name: str, default: str, help: str, *, secret: bool = False) -> str:
    return _raw(name, default, help, secret=secret)


def flag(name: str, default: bool, help: str) -> bool:
    value = _raw(name, "1" if default else "0", help).strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off", ""}:
        return False
    raise EnvironmentProblem(f"{name}={value}: takes 1 or 0")


def integer(name: str, default: int, help: str) -> int:
    value = _raw(name, str(default), help)
    if not value.isascii() or not value.isdigit():
        raise EnvironmentProblem(f"{name}={value}: takes a whole number that is not negative")
    return int(value)


def seconds(name: str, default: float, help: str) -> float:
    value = _raw(name, f"{default:g}", help)
    try:
        number = float(value)
    except ValueError as error:
        raise EnvironmentProblem(f"{name}={value}: takes a number of seconds") from error
    if not 0 <= number < 10**9:
        raise EnvironmentProblem(f"{name}={value}: takes a number of seconds that is not negative")
    return number


def dollars(name: str, default: str, help: str) -> str:
    value = _raw(name, default, help).strip()
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", value):
        raise EnvironmentProblem(f"{name}={value}: takes an amount in USD such as 1.50")
    return value


def words(name: str, default: str, help: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in _raw(name, default, help).split(",") if word.strip())


def wholes(name: str, default: str, help: str) -> tuple[int, ...]:
    found = words(name, default, help)
    if not all(word.isascii() and word.isdigit() for word in found):
        raise EnvironmentProblem(f"{name}={','.join(found)}: takes whole numbers, separated by commas")
    return tuple(int(word) for word in found)


def directory(name: str, default: Path, help: str) -> Path:
    value = _raw(name, "", help)
    return Path(value).resolve() if value else default


# What runs, and where its data is.

DATABASE_URL = text(
    "DATABASE_URL",
    "",
    "PostgreSQL to use (postgres://user@host:5432/name). Unset: a private PostgreSQL with its data under VAR_DIR.",
    secret=True,
)
PROFILE = text("PROFILE", "", "embedded or production. Unset: production when DATABASE_URL is set, else embedded.") or (
    "production" if DATABASE_URL else "embedded"
)
if PROFILE not in {"embedded", "production"}:
    raise EnvironmentProblem(f"PROFILE={PROFILE}: takes embedded or production")
EMBEDDED = PROFILE == "embedded"
REDIS_URL = text(
    "REDIS_URL",
    "",
    "Redis for limits, cache, channel layer and Celery. Unset: in-process, which allows one web process.",
    secret=True,
)
VAR_DIR = directory(
    "VAR_DIR", BASE_DIR / "var", "Where the embedded profile keeps its data. Default: var/ in the project."
)
DEBUG = flag("DEBUG", False, "Django's debug pages. Never in production.")
TIME_ZONE = text("TIME_ZONE", "UTC", "Zone in which days begin and pages show times.")
HOST = text("HOST", "127.0.0.1", "Address that `make demo` listens on.")
PORT = integer("PORT", 8000, "Port that `make demo` listens on.")
WEB_PROCESSES = integer("WEB_PROCESSES", 1, "Web processes to start; more than one needs REDIS_URL.")
ALLOWED_HOSTS = words(
    "ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", "Host names that this instance answers to, separated by commas."
)
CSRF_TRUSTED_ORIGINS = words(
    "CSRF_TRUSTED_ORIGINS", "", "Origins whose forms are accepted behind a proxy, with scheme."
)
PUBLIC_BASE_URL = text(
    "PUBLIC_BASE_URL",
    "",
    "Address under which clients reach this instance (https://ai.example.com). Unset: taken from HOST and PORT.",
)
TRUSTED_PROXIES = integer("TRUSTED_PROXIES", 0, "Proxies in front that append to X-Forwarded-For; 0 trusts none.")
LOG_LEVEL = text("LOG_LEVEL", "INFO", "Least severe level that is logged.")


# Secrets. The embedded profile makes its own once, under VAR_DIR; production must be given them.


def _kept_secrets() -> dict[str, str]:
    """Return the embedded profile's own secrets, made on first use and readable by this user only."""
    path = VAR_DIR / "secrets.json"
    if not path.exists():
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        made = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "TOKEN_PEPPER": secrets.token_urlsafe(32),
            "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        draft = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made, file)
        try:
            os.link(draft, path)  # two processes starting at once agree on one file
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def _key(name: str, help: str) -> str:
    value = text(name, "", help, secret=True)
    return value or (_kept_secrets()[name] if EMBEDDED else "")


SECRET_KEY = _key(
    "SECRET_KEY",
    "Signs Django's cookies and links, and encrypts what web processes tell each other. At least 50 random characters.",
)
TOKEN_PEPPER = _key(
    "TOKEN_PEPPER",
    "Key of the hashes under which tokens and external user ids are stored. "
    "Losing it logs everybody out and detaches every end user.",
)
FIELD_ENCRYPTION_KEYS = ",".join(  # a file may well have one key a line
    _key(
        "FIELD_ENCRYPTION_KEYS",
        "Fernet keys (32 bytes, URL-safe base64) of the vault, separated by commas: the first encrypts, all decrypt.",
    )
    .replace(",", " ")
    .split()
)

OPERATOR_TOKEN = text(
    "OPERATOR_TOKEN",
    "",
    "Token with which an operator's monitoring reads GET /v1/providers/health in full. At least 32 random characters.",
    secret=True,
)


def _check_secrets() -> None:
    given = {"SECRET_KEY": SECRET_KEY, "TOKEN_PEPPER": TOKEN_PEPPER, "FIELD_ENCRYPTION_KEYS": FIELD_ENCRYPTION_KEYS}
    if missing := [name for name, value in given.items() if not value]:
        raise EnvironmentProblem(
            f"{', '.join(missing)}: not set. The production profile takes each from NAME or from the file in NAME_FILE."
        )
    for key in FIELD_ENCRYPTION_KEYS.split(","):
        try:
            length = len(base64.urlsafe_b64decode(key.strip()))
        except ValueError:
            length = 0
        if length != 32:
            raise EnvironmentProblem("FIELD_ENCRYPTION_KEYS: takes 32 bytes in URL-safe base64, or several with commas")


_check_secrets()

# Accounts of people: developers, their teams, operators.

SIGNUP = flag("SIGNUP", True, "Let anybody sign up; off: only whom a team or an operator invites.")
EMAIL_URL = text(
    "EMAIL_URL",
    "",
    "Server that sends mail (smtp://user:password@host:587/?tls=1). Unset: mail is kept as files in VAR_DIR/mail.",
    secret=True,
)
EMAIL_FROM = text("EMAIL_FROM", "ModelFaucet <noreply@localhost>", "Sender of the mail to developers and operators.")
EMAIL_VERIFICATION = flag(
    "EMAIL_VERIFICATION", bool(EMAIL_URL), "Ask for a code sent by mail before a new account may be used."
)
SUPPORT_EMAIL = text("SUPPORT_EMAIL", "", "Where people ask for help; shown on /contacts.")
SECURITY_EMAIL = text("SECURITY_EMAIL", "", "Where weaknesses are reported; shown on /contacts.")
ABUSE_EMAIL = text("ABUSE_EMAIL", "", "Where abuse is reported; shown on /contacts.")
INCIDENT_URL = text(
    "INCIDENT_URL", "", "Page that tells of incidents (https://status.example.com); shown on /contacts."
)
ADMIN_SECOND_FACTOR = flag(
    "ADMIN_SECOND_FACTOR", not EMBEDDED, "Open the admin only to operators who signed in with a second factor."
)
OIDC_ISSUER = text(
    "OIDC_ISSUER", "", "Issuer of single sign-on by OpenID Connect (https://login.example.com). Unset: none."
)
OIDC_CLIENT_ID = text("OIDC_CLIENT_ID", "", "Client id of this instance there.")
OIDC_CLIENT_SECRET = text("OIDC_CLIENT_SECRET", "", "Its secret.", secret=True)
OIDC_NAME = text("OIDC_NAME", "Single sign-on", "What the button says.")

# The gateway.

MAX_BODY_BYTES = integer("MAX_BODY_BYTES", 20_000_000, "Largest request body accepted on /v1, in bytes.")
BODY_MEMORY_BYTES = integer(
    "BODY_MEMORY_BYTES",
    200_000_000,
    "Memory that request bodies may take together while they arrive, in bytes a process.",
)
BODY_TIMEOUT = seconds("BODY_TIMEOUT", 30, "Seconds in which a client must have sent its request body.")
CONNECT_TIMEOUT = seconds("CONNECT_TIMEOUT", 10, "Seconds to connect to a provider.")
FIRST_BYTE_TIMEOUT = seconds("FIRST_BYTE_TIMEOUT", 120, "Seconds to wait for the first byte of a provider's answer.")
IDLE_TIMEOUT = seconds("IDLE_TIMEOUT", 120, "Longest silence of a provider within an answer, in seconds.")
REQUEST_DEADLINE = seconds("REQUEST_DEADLINE", 900, "Seconds that one request may take over all attempts.")
BREAKER_FAILURES = integer(
    "BREAKER_FAILURES", 3, "Failed calls in a row after which a credential's model is left alone for a while."
)
BREAKER_COOLDOWN = seconds(
    "BREAKER_COOLDOWN", 15, "Seconds it is left alone for the first time; each further time is twice as long."
)
BREAKER_MAX_COOLDOWN = seconds("BREAKER_MAX_COOLDOWN", 300, "Longest time for which it is left alone, in seconds.")
HEALTH_INTERVAL = seconds(
    "HEALTH_INTERVAL", 30, "Seconds between checks of each key in use, where its provider offers a free call."
)
HEALTH_FAILURES = integer(
    "HEALTH_FAILURES", 3, "Failed checks in a row after which a key is passed over until a check succeeds."
)
READER_TIMEOUT = seconds("READER_TIMEOUT", 60, "Seconds a client may stop reading its stream before it counts as gone.")
DRAIN_SECONDS = seconds(
    "DRAIN_SECONDS", 5, "Seconds to keep reading a provider's answer after the client has left, to learn its usage."
)
CACHE_EMBEDDING_MODEL = text(
    "CACHE_EMBEDDING_MODEL",
    "hashed-ngrams",
    "Model by which similar prompts are found where a manifest names none; hashed-ngrams is built in and free.",
)
HOLD_LEASE = seconds(
    "HOLD_LEASE", 120, "Seconds a hold outlives its last renewal; live requests renew at a third of it."
)
SETTLE_TIMEOUT = seconds(
    "SETTLE_TIMEOUT", 20, "Seconds to keep trying to store a usage event before the answer is ended with an error."
)
HOLD_PATIENCE = seconds(
    "HOLD_PATIENCE", 3, "Seconds a request waits for a database that is out of reach before it gets 503."
)
RETRIES = integer("RETRIES", 1, "Further rounds over the targets of a call when every one of them failed for a moment.")
RETRY_PATIENCE = seconds("RETRY_PATIENCE", 5, "Most seconds a call waits before such a round; never past its deadline.")
HOLDS_ASYNC_COMMIT = flag(
    "HOLDS_ASYNC_COMMIT",
    True,
    "Commit holds without waiting for the disk: a crash of PostgreSQL may then lose the latest authorisations.",
)
SESSION_TTL = integer("SESSION_TTL", 3600, "Seconds a session token lives.")
EPOCH_POLL = seconds("EPOCH_POLL", 0.4, "Seconds between looks at the policy epoch; a kill switch acts within this.")
IDEMPOTENCY_TTL = integer(
    "IDEMPOTENCY_TTL", 86400, "Seconds for which the outcome of an Idempotency-Key can be replayed."
)
SESSIONS_PER_ADDRESS = text(
    "SESSIONS_PER_ADDRESS", "30/minute", "Anonymous sessions one address may open (limits notation)."
)
MAX_PROVIDER_KEYS = integer(
    "MAX_PROVIDER_KEYS", 20, "Provider keys that one end user or one developer may keep, replaced ones apart."
)
PROVIDER_KEY_CHECKS = text(
    "PROVIDER_KEY_CHECKS", "30/hour", "Provider keys one end user or developer may have tried (limits notation)."
)
LOCAL_REPORTS_PER_USER = text(
    "LOCAL_REPORTS_PER_USER",
    "120/minute",
    "Batches of reports of local calls that one end user's programs may send (limits notation).",
)
MAX_BUDGETS = integer("MAX_BUDGETS", 200, "Budgets in force that one developer or one end user may have.")
BUDGET_CHANGES = text(
    "BUDGET_CHANGES",
    "120/hour",
    "Changes of budgets and alert endpoints by one end user or developer (limits notation).",
)
OUTBOUND_PRIVATE_ENDPOINTS = words(
    "OUTBOUND_PRIVATE_ENDPOINTS",
    "",
    "host:port pairs inside the private network that providers may use (the operator's own vLLM), separated by commas.",
)

# Money.

INFRA_COST_NANO_USD = integer(
    "INFRA_COST_NANO_USD",
    0,
    "Infrastructure cost of one served request in nano-USD, taken off the margin before the developer's share.",
)
PAYMENT_COST_BPS = integer(
    "PAYMENT_COST_BPS",
    0,
    "Payment cost in basis points of the retail price, taken off the margin before the developer's share.",
)
EXPORTS_AT_ONCE = integer(
    "EXPORTS_AT_ONCE", 8, "CSV exports that one web process writes at once; a developer or end user has one at a time."
)
RECONCILE_GRACE = seconds(
    "RECONCILE_GRACE", 3600, "Seconds that an entry of Stripe's or ours may be alone before it counts as a difference."
)
PROVIDER_TOLERANCE_BPS = integer(
    "PROVIDER_TOLERANCE_BPS",
    100,
    "Difference to a provider's invoice, of a model on a day, that is not reported, in basis points.",
)
PROVIDER_TOLERANCE_NANO_USD = integer(
    "PROVIDER_TOLERANCE_NANO_USD", 10000000, "Difference to a provider's invoice that is never reported, in nano-USD."
)

MAX_BALANCE_USD = integer(
    "MAX_BALANCE_USD", 500, "Most USD that an end user's wallet may hold after a top-up or promo code; 0: no limit."
)
MAX_DEVELOPER_BALANCE_USD = integer(
    "MAX_DEVELOPER_BALANCE_USD", 10_000, "The same for a developer's prepaid credit; 0: no limit."
)
DAILY_SPEND_USD = integer(
    "DAILY_SPEND_USD", 0, "USD that each end user may spend a day (UTC), from their next session on; 0: no limit."
)
LOW_BALANCE_USD = integer(
    "LOW_BALANCE_USD", 1, "Tell a wallet's owner once when spending takes the balance below this many USD; 0: never."
)
CREDIT_EXPIRY_NOTICE_DAYS = integer(
    "CREDIT_EXPIRY_NOTICE_DAYS",
    7,
    "Days before promotional or granted credit expires that its owner is told; 0: never.",
)
PROMO_ATTEMPTS = text(
    "PROMO_ATTEMPTS", "10/hour", "Promo codes that one end user, developer or address may try (limits notation)."
)

# Risk.

FINGERPRINT_DAYS = integer(
    "FINGERPRINT_DAYS",
    60,
    "Days that the keyed hashes of a client's network and user agent are kept after it was last seen; 30 at least.",
)
ALLOWANCES_PER_FINGERPRINT = integer(
    "ALLOWANCES_PER_FINGERPRINT",
    3,
    "End users of an app, of one network and user agent, who are given free credit within 30 days; 0: no limit.",
)
ALLOWANCES_PER_NETWORK = integer(
    "ALLOWANCES_PER_NETWORK",
    20,
    "End users of an app, of one network, who are given free credit within 30 days; 0: no limit.",
)
RISK_ALERT_LIMIT = integer(
    "RISK_ALERT_LIMIT", 60, "Risk score, 1 to 100, from which on the operator is alerted; 0: never."
)
RISK_SUSPEND_LIMIT = integer(
    "RISK_SUSPEND_LIMIT",
    0,
    "Risk score, 1 to 100, from which on free credit is stopped and an end user throttled by itself; 0: never.",
)
RISK_THROTTLE_RPM = integer(
    "RISK_THROTTLE_RPM", 6, "Calls a minute that a throttled end user, app or developer may make."
)
RISK_SUBJECTS = integer(
    "RISK_SUBJECTS", 2000, "End users whose score is computed in one hourly run, those first who spent most."
)
if FINGERPRINT_DAYS < 30:
    raise EnvironmentProblem(f"FINGERPRINT_DAYS={FINGERPRINT_DAYS}: takes 30 or more")

# Background work.

RATING_INTERVAL = seconds("RATING_INTERVAL", 0.5, "Seconds between looks for unrated usage events.")
CELERY_BROKER_URL = text(
    "CELERY_BROKER_URL", "", "Celery's broker (amqp:// or redis://). Unset: REDIS_URL.", secret=True
)

# The demo.

DEMO = flag("DEMO", EMBEDDED, "Serve the demo page at /, with a demo app and a demo end user.")
DEMO_PROVIDER_PORT = integer("DEMO_PROVIDER_PORT", 0, "Loopback port of the demo provider; 0 takes a free one.")
OPENAI_BASE_URL = text(
    "OPENAI_BASE_URL", "", "OpenAI-compatible endpoint that the demo uses in place of the demo provider."
)
OPENAI_API_KEY = text(
    "OPENAI_API_KEY", "", "Its key. With this set the demo answers through the real provider.", secret=True
)
OPENAI_MODEL = text("OPENAI_MODEL", "gpt-4o-mini", "Model the demo uses there.")
OPENAI_INPUT_USD = text(
    "OPENAI_INPUT_USD", "5", "USD per 1,000,000 input tokens of OPENAI_MODEL, where no price list knows it."
)
OPENAI_OUTPUT_USD = text(
    "OPENAI_OUTPUT_USD", "20", "USD per 1,000,000 output tokens of OPENAI_MODEL, where no price list knows it."
)
STRIPE_ENABLED = flag("STRIPE_ENABLED", False, "Switch Stripe on (top-ups, payouts).")
STRIPE_SECRET_KEY = text(
    "STRIPE_SECRET_KEY", "", "Stripe's secret or restricted key; sk_test_ and rk_test_ mean its sandbox.", secret=True
)
STRIPE_WEBHOOK_SECRET = text(
    "STRIPE_WEBHOOK_SECRET",
    "",
    "Signing secret of the webhook endpoint for our own account's events (whsec_…), as `stripe_webhooks` prints it.",
    secret=True,
)
STRIPE_CONNECT_WEBHOOK_SECRET = text(
    "STRIPE_CONNECT_WEBHOOK_SECRET",
    "",
    "Signing secret of the webhook endpoint for the events of connected accounts, which payouts need.",
    secret=True,
)
STRIPE_API_VERSION = text(
    "STRIPE_API_VERSION", "2026-08-26.dahlia", "Version of Stripe's API: the one that the installed library speaks."
)
STRIPE_API_HOST = text("STRIPE_API_HOST", "https://api.stripe.com", "Address of Stripe's API.")
STRIPE_TIMEOUT = seconds("STRIPE_TIMEOUT", 20, "Seconds to wait for an answer of Stripe.")
STRIPE_TOLERANCE = integer("STRIPE_TOLERANCE", 300, "Seconds that a webhook's signature may be old.")
if STRIPE_ENABLED and not STRIPE_SECRET_KEY:
    raise EnvironmentProblem("STRIPE_ENABLED without STRIPE_SECRET_KEY: set the key, or the file in its _FILE.")

# Top-ups, refunds and disputes.

TOP_UP_PRESETS_USD = wholes(
    "TOP_UP_PRESETS_USD",
    "5,10,20,50",
    "Amounts offered for a top-up in whole USD, separated by commas; those outside the limits are left out.",
)
TOP_UP_MIN_USD = integer("TOP_UP_MIN_USD", 5, "Least top-up, in USD.")
TOP_UP_MAX_USD = integer("TOP_UP_MAX_USD", 500, "Largest single top-up, in USD.")
TOP_UP_RATE = text("TOP_UP_RATE", "20/hour", "Top-ups one wallet may start (limits notation).")
STRIPE_AUTOMATIC_TAX = flag(
    "STRIPE_AUTOMATIC_TAX",
    False,
    "Let Stripe Tax add sales tax or VAT to top-ups; it is kept on an account of its own.",
)
STRIPE_EVENT_DAYS = integer("STRIPE_EVENT_DAYS", 90, "Days for which Stripe's events are kept once they are handled.")
REFUND_DAYS = integer("REFUND_DAYS", 14, "Days after a top-up within which its owner may have what is unused refunded.")
DISPUTE_WRITE_OFF_DAYS = integer(
    "DISPUTE_WRITE_OFF_DAYS", 60, "Days after a lost dispute when what its wallet still owes is written off."
)
if not 0 < TOP_UP_MIN_USD <= TOP_UP_MAX_USD <= 999_999:
    raise EnvironmentProblem("TOP_UP_MIN_USD is from 1 to TOP_UP_MAX_USD, and that at most 999999")

# Payouts.

PAYOUT_HOLD_DAYS = integer("PAYOUT_HOLD_DAYS", 30, "Days until a developer's revenue is payable.")
PAYOUT_TRUSTED_HOLD_DAYS = integer(
    "PAYOUT_TRUSTED_HOLD_DAYS", 14, "Days until the revenue of a trusted developer is payable."
)
PAYOUT_RESERVE_BPS = integer(
    "PAYOUT_RESERVE_BPS",
    500,
    "Rolling reserve: part of a developer's matured revenue that is kept back, in basis points.",
)
PAYOUT_RESERVE_DAYS = integer(
    "PAYOUT_RESERVE_DAYS", 90, "Days after which the reserve on a day's revenue is free, counted from that day."
)
PAYOUT_PERIOD = text("PAYOUT_PERIOD", "month", "month or week: payouts are proposed at most once in each.")
if PAYOUT_PERIOD not in {"month", "week"}:
    raise EnvironmentProblem(f"PAYOUT_PERIOD={PAYOUT_PERIOD}: takes month or week")
PAYOUT_MINIMUM_USD = integer("PAYOUT_MINIMUM_USD", 25, "Least payout, in USD.")
PAYOUT_CHANGES = text(
    "PAYOUT_CHANGES", "60/hour", "Payouts asked for and changes of the payout account, by one developer."
)
PAYOUT_RISK_LIMIT = integer(
    "PAYOUT_RISK_LIMIT", 60, "Risk score of an app, 0 to 100, from which on its developer's payouts are held."
)
PAYOUT_SECOND_APPROVAL_USD = integer(
    "PAYOUT_SECOND_APPROVAL_USD", 1000, "Payouts above this many USD need the approval of two different operators."
)

# Plans, fees and value pricing.

DEFAULT_PLAN = text(
    "DEFAULT_PLAN", "", "Key of the plan of developers who have no subscription. Empty: none, and nothing is limited."
)
PLAN_INTERVAL = seconds(
    "PLAN_INTERVAL",
    60,
    "Seconds between measurements of what developers have used of their plans; a limit is soft by so much.",
)
SUBSCRIPTION_GRACE_DAYS = integer(
    "SUBSCRIPTION_GRACE_DAYS", 7, "Days for which a plan stays in force while its payment is past due."
)
VALUE_SHARE_BPS = integer(
    "VALUE_SHARE_BPS",
    2000,
    "Value pricing: part of a month's savings that is the fee, in basis points, where an agreement names no other.",
)
VALUE_BASE_FEE_USD = integer(
    "VALUE_BASE_FEE_USD", 99, "Value pricing: fee in USD of a month without savings, where an agreement names no other."
)

# Developers who sign up, and their apps.

STARTER_CREDIT_USD = dollars(
    "STARTER_CREDIT_USD",
    "1.00" if EMBEDDED else "0",
    "Prepaid credit in USD that a person's first developer is given, once; 0: none, as unset in production.",
)
STARTER_CREDIT_DAYS = integer("STARTER_CREDIT_DAYS", 30, "Days after which what is left of it expires; 0: never.")
APP_MARKUP_BPS = integer(
    "APP_MARKUP_BPS", 4000, "Markup on cost that an app made by its developer begins with, in basis points."
)
APP_SHARE_BPS = integer(
    "APP_SHARE_BPS", 4000, "Developer's part of the margin of such an app, in basis points; operators change it by app."
)
DEVELOPERS_SET_PRICES = flag(
    "DEVELOPERS_SET_PRICES", True, "Let developers set the markup of their apps, and the price on their own keys."
)
if APP_MARKUP_BPS > 1_000_000 or APP_SHARE_BPS > 10_000:
    raise EnvironmentProblem("APP_MARKUP_BPS is at most 1000000, APP_SHARE_BPS at most 10000")
