"""POST /v1/local/usage-reports: what an end user's own machine served without us. Numbers only, no text."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError
from apps.core.money import usd
from apps.features.principals import BRIDGE_PREFIX, principal_for_feature, principal_of_bridge
from apps.features.queries import Principal
from apps.gateway.api import policy
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import read_json
from apps.gateway.api.views import ApiView, bearer_of, check_origin
from apps.usage.budgets.queries import load_own_budgets
from apps.usage.local_report import Report
from apps.usage.services.local_reports import REJECTED, Taken, take_reports

MAX_REPORTS = 100


class UsageReports(ApiView):
    def post(self, request: Request) -> Response:
        """Take reports: each becomes one usage event, once."""
        reporter = _reporter_of(request)
        _count(reporter.end_user_id)
        body = read_json(request)
        body.only("reports")
        asked = body.items("reports")
        if not asked or len(asked) > MAX_REPORTS:
            raise BadRequest(
                f"reports takes a list of 1 to {MAX_REPORTS} reports.", code="invalid_type", param="reports"
            )
        outcomes: dict[int, Taken] = {}
        readable: list[tuple[int, Report, Principal]] = []
        for place, each in enumerate(asked):
            try:
                report = _read(each, place)
                readable.append((place, report, reporter.principal_for(report.feature_key)))
            except FaucetError as error:
                outcomes[place] = Taken(_id_of(each), REJECTED, error=error)
        taken = take_reports(
            reporter.end_user_id,
            [(report, principal) for _place, report, principal in readable],
            budgets=(policy.current(now=now()).budgets, load_own_budgets(reporter.end_user_id)),
            now=now(),
        )
        outcomes |= {place: one for (place, _report, _principal), one in zip(readable, taken, strict=True)}
        return Response({"object": "list", "data": [_shown(outcomes[place]) for place in range(len(asked))]})


@dataclass
class _Reporter:
    """Who reports: the token, whom it stands for, and what that is for each feature that a report names."""

    token: str
    principal: Principal
    end_user_id: str
    by_feature: dict[str, Principal | FaucetError]

    def principal_for(self, feature_key: str | None) -> Principal:
        """Return for whom and on which terms a report of a feature is. Raises NotFound and Forbidden."""
        if feature_key is None or feature_key == self.principal.feature_key:
            return self.principal
        known = self.by_feature.get(feature_key)
        if known is None:
            known = self.by_feature[feature_key] = self._find(feature_key)
        if isinstance(known, FaucetError):
            raise known
        return known

    def _find(self, feature_key: str) -> Principal | FaucetError:
        find = principal_of_bridge if self.principal.kind == "bridge" else principal_for_feature
        try:
            return find(self.token, feature_key, now=now())
        except FaucetError as error:
            return error


def _reporter_of(request: Request) -> _Reporter:
    """Return who reports, by a session's or a bridge's token. Raises as `end_user_of` and `principal_of_bridge`."""
    token = bearer_of(request, "a session's or a bridge's token")
    if token.startswith(BRIDGE_PREFIX):
        principal = principal_of_bridge(token, now=now())
        check_origin(request, principal.allowed_origins)
    else:
        principal = end_user_of(request)
    assert principal.end_user_id is not None
    return _Reporter(token, principal, principal.end_user_id, {})


def _count(end_user_id: str) -> None:
    addresses.count(
        "local_reports",
        settings.LOCAL_REPORTS_PER_USER,
        end_user_id,
        message="Reports come too fast; send more of them at once.",
    )


def _read(each: Any, place: int) -> Report:
    try:
        return msgspec.convert(each, Report)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)[:200], code="invalid_report", param=f"reports[{place}]") from None


def _id_of(each: Any) -> str | None:
    """Return the id under which a sender knows a report that cannot be read."""
    named = each.get("report_id") if isinstance(each, dict) else None
    return named if isinstance(named, str) and len(named) <= 64 else None


def _shown(taken: Taken) -> dict[str, Any]:
    content: dict[str, Any] = {
        "report_id": taken.report_id,
        "state": taken.state,
        "request_id": taken.request_id,
        "price_usd": None if taken.request_id is None else usd(taken.price),
    }
    if taken.error is not None:
        error = taken.error
        content["error"] = {"code": error.code, "message": error.message, "param": error.param}
    return content
