"""System checks: what is wrong with this installation, each with the hint that mends it."""

from typing import Any

import limits
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from modelfaucet import env

SHORTEST_SECRET = 32


@register()
def secrets_are_long(**_: Any) -> list[CheckMessage]:
    """mf.E001: secrets cannot be guessed. (Missing ones end the program before any check: `env.py`.)"""
    return [
        Error(
            f"{name} is shorter than {SHORTEST_SECRET} characters.",
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe(50))' makes one.",
            id="mf.E001",
        )
        for name in ("SECRET_KEY", "TOKEN_PEPPER", "OPERATOR_TOKEN")
        if len(getattr(env, name)) < SHORTEST_SECRET and (name != "OPERATOR_TOKEN" or env.OPERATOR_TOKEN)
    ]


@register()
def several_processes_share_redis(**_: Any) -> list[CheckMessage]:
    """mf.E002: without Redis each web process would count limits for itself."""
    if env.WEB_PROCESSES > 1 and not env.REDIS_URL:
        return [
            Error(
                f"WEB_PROCESSES={env.WEB_PROCESSES} without REDIS_URL: limits would be wrong.",
                hint="Set REDIS_URL, or run one web process.",
                id="mf.E002",
            )
        ]
    return []


@register()
def address_limit_can_be_read(**_: Any) -> list[CheckMessage]:
    """mf.E004: the limit on anonymous sessions is written as the limits library reads it."""
    try:
        limits.parse(env.SESSIONS_PER_ADDRESS)
    except ValueError:
        return [
            Error(
                f"SESSIONS_PER_ADDRESS={env.SESSIONS_PER_ADDRESS} is not a rate limit.",
                hint="Write it as 30/minute.",
                id="mf.E004",
            )
        ]
    return []


@register()
def verification_can_be_sent(**_: Any) -> list[CheckMessage]:
    """mf.E005: codes that are asked for are also sent."""
    if env.EMAIL_VERIFICATION and not env.EMAIL_URL and not env.EMBEDDED:
        return [
            Error(
                "EMAIL_VERIFICATION is on and EMAIL_URL is not set: nobody could sign up.",
                hint="Set EMAIL_URL, or switch EMAIL_VERIFICATION off.",
                id="mf.E005",
            )
        ]
    return []


@register()
def stripes_events_can_be_believed(**_: Any) -> list[CheckMessage]:
    """mf.E006, mf.W001: a webhook without a secret is refused, so nothing that is paid would be credited by it."""
    if not env.STRIPE_ENABLED:
        return []
    found: list[CheckMessage] = []
    hint = "Run `manage.py stripe_webhooks create`, and set the secret that it prints."
    if not env.STRIPE_WEBHOOK_SECRET:
        kind = Warning if env.EMBEDDED else Error
        message = "STRIPE_ENABLED without STRIPE_WEBHOOK_SECRET: every event is refused."
        found.append(kind(message, hint=hint, id="mf.W001" if env.EMBEDDED else "mf.E006"))
    if not env.STRIPE_CONNECT_WEBHOOK_SECRET:
        message = "STRIPE_ENABLED without STRIPE_CONNECT_WEBHOOK_SECRET: events of connected accounts are refused."
        found.append(Warning(message, hint=hint, id="mf.W001"))
    return found


@register()
def stripe_is_asked_in_the_librarys_version(**_: Any) -> list[CheckMessage]:
    """mf.E007: what the installed library sends and reads is the API version that is pinned."""
    if not env.STRIPE_ENABLED:
        return []
    from apps.billing.stripe_api import library_version

    spoken = library_version()
    if spoken == env.STRIPE_API_VERSION:
        return []
    return [
        Error(
            f"STRIPE_API_VERSION={env.STRIPE_API_VERSION}, and the installed library speaks {spoken}.",
            hint=f"Unset it or set {spoken}; then `manage.py stripe_webhooks check`.",
            id="mf.E007",
        )
    ]


@register(deploy=True)
def production_is_not_debugging(**_: Any) -> list[CheckMessage]:
    """mf.E003: production never shows tracebacks."""
    if settings.DEBUG and not env.EMBEDDED:
        return [Error("DEBUG is on in the production profile.", hint="Unset DEBUG.", id="mf.E003")]
    return []
