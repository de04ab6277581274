"""GET /v1/providers/health: what is known of the providers without asking them again."""

import hmac
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.queries import ProviderInfo, providers
from apps.core.hashing import keyed_hash
from apps.developers.models import Scope
from apps.gateway.api.views import ApiView, bearer_of, identity_of
from apps.gateway.health import Reading, process_health
from apps.vault.models import Validation
from apps.vault.queries import HealthInfo, shared_health

MAY_SEE = "vault.view_credentialhealth"


class ProviderHealth(ApiView):
    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self._visitor = request.user  # before REST framework puts its own in its place

    def get(self, request: Request) -> Response:
        """Show the state of each provider: by key and model to operators, coarse to developers.

        An operator is who is logged in as staff and may see it, or who has the OPERATOR_TOKEN.
        """
        is_staff = self._visitor.is_active and self._visitor.is_staff and self._visitor.has_perm(MAY_SEE)
        is_operator = is_staff or _has_operator_token(request)
        if not is_operator:
            identity_of(request, Scope.APPS_READ)
        keys: dict[str, list[HealthInfo]] = {}
        for info in shared_health():
            keys.setdefault(info.provider, []).append(info)
        circuits: dict[str, list[Reading]] = {}
        for reading in process_health().readings():
            circuits.setdefault(reading.key[0], []).append(reading)
        data = []
        for provider in providers():
            if provider.active or is_operator:
                held = keys.get(provider.id, [])
                line = {**_terms(provider), "state": _state(provider, held, circuits)}
                if is_operator:
                    line["credentials"] = [_credential(info, circuits.get(info.credential_id, ())) for info in held]
                data.append(line)
        return Response({"object": "list", "data": data})


def _has_operator_token(request: Request) -> bool:
    """Tell whether a request comes with the OPERATOR_TOKEN; compared as hashes, in a time that tells nothing of it."""
    if not settings.OPERATOR_TOKEN or "authorization" not in request.headers:
        return False
    given = keyed_hash("operator", bearer_of(request, "a developer token"))
    return hmac.compare_digest(given, keyed_hash("operator", settings.OPERATOR_TOKEN))


def _terms(provider: ProviderInfo) -> dict[str, Any]:
    return {
        "object": "provider_health",
        "id": provider.id,
        "name": provider.name,
        "terms": {
            "url": provider.terms_url,
            "resale_allowed": provider.resale_allowed,
            "byok_allowed": provider.byok_allowed,
            "white_label_allowed": provider.white_label_allowed,
            "trains_on_data": provider.trains_on_data,
            "notice": provider.notice,
        },
    }


def _state(provider: ProviderInfo, keys: Sequence[HealthInfo], circuits: dict[str, list[Reading]]) -> str:
    """Return disabled, no_key, unknown, ok, degraded (some of it does not work) or down."""
    if not provider.active:
        return "disabled"
    if not keys:
        return "no_key"
    states = [_key_state(info, circuits.get(info.credential_id, ())) for info in keys]
    if all(state == "down" for state in states):
        return "down"
    if any(state in ("down", "degraded") for state in states):
        return "degraded"
    return "ok" if "ok" in states else "unknown"


def _key_state(info: HealthInfo, readings: Sequence[Reading]) -> str:
    if info.down or any(each.state != "closed" and not each.key[1] for each in readings):
        return "down"
    if any(each.state != "closed" for each in readings):
        return "degraded"
    return "ok" if readings or info.result != Validation.NEVER else "unknown"


def _credential(info: HealthInfo, readings: Sequence[Reading]) -> dict[str, Any]:
    return {
        "id": info.credential_id,
        "owner": info.owner_class,
        "label": info.label,
        "hint": info.hint,
        "state": _key_state(info, readings),
        "check": {
            "down": info.down,
            "result": info.result,
            "status": info.http_status,
            "latency_ms": info.latency_ms,
            "consecutive_failures": info.consecutive_failures,
            "checked_at": info.checked_at and info.checked_at.isoformat(),
            "changed_at": info.changed_at and info.changed_at.isoformat(),
        },
        "circuits": [_circuit(each) for each in readings],
    }


def _circuit(reading: Reading) -> dict[str, Any]:
    return {
        "model": reading.key[1] or None,
        "state": reading.state,
        "consecutive_failures": reading.consecutive_failures,
        "error_rate": round(reading.error_rate, 3),
        "latency_ms": None if reading.latency is None else round(reading.latency * 1000),
        "retry_in_seconds": round(reading.retry_in, 1),
        "code": reading.code or None,
    }
