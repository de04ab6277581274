"""Risk for operators: scores with their signals, clients as hashes, anomalies, and what was done about abuse."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.billing.models.risk import (
    Anomaly,
    AppHour,
    Fingerprint,
    RiskAction,
    RiskActionKind,
    RiskScore,
    RiskSignal,
)
from apps.billing.services import risk, risk_actions, risk_rules
from apps.billing.services.anomalies import shown
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of, usd_column
from apps.core.clock import now


def _explained(row: RiskSignal) -> str:
    found = risk_rules.explain(row.code, value=row.value, threshold=row.threshold, unit=row.unit)
    return found or row.explanation


class SignalInline(admin.TabularInline):
    model = RiskSignal
    fields = readonly_fields = ("code", "points", "measured", "from_threshold", "explained")
    extra = 0
    can_delete = False
    ordering = ("-points", "code")

    def has_add_permission(self, request: HttpRequest, obj: RiskScore | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RiskScore | None = None) -> bool:
        return False

    @admin.display(description=_("measured"))
    def measured(self, row: RiskSignal) -> str:
        return risk_rules.measure(row.value, row.unit)

    @admin.display(description=_("threshold"))
    def from_threshold(self, row: RiskSignal) -> str:
        return risk_rules.measure(row.threshold, row.unit)

    @admin.display(description=_("explanation"))
    def explained(self, row: RiskSignal) -> str:
        return _explained(row)


@admin.register(RiskScore)
class RiskScoreAdmin(ReadOnlyAdmin):
    """The newest row of a subject counts; what is done is done to its subject, whichever row is chosen."""

    list_display = ("id", "subject_kind", "subject_id", "score", "level", "reasons", "computed_at", "confirmed_at")
    list_filter = ("subject_kind", "computed_at")
    search_fields = ("=subject_id", "=id")
    search_help_text = _("A whole id of an app, end user or developer, or of a score.")
    ordering = ("-id",)
    fields = ("id", "subject_kind", "subject_id", "score", "level", "computed_at", "confirmed_at")
    readonly_fields = ("level",)
    inlines = (SignalInline,)
    actions = ("judge", "throttle", "suspend", "freeze", "disable")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RiskScore]:
        return super().get_queryset(request).prefetch_related("signals")

    @admin.display(description=_("level"))
    def level(self, row: RiskScore) -> str:
        return str({"low": _("low"), "medium": _("medium"), "high": _("high")}[risk_rules.level(row.score)])

    @admin.display(description=_("signals"))
    def reasons(self, row: RiskScore) -> str:
        signals = sorted(row.signals.all(), key=lambda signal: (-signal.points, signal.code))
        return ", ".join(f"{signal.code} {signal.points}" for signal in signals) or "–"

    @admin.action(description=_("Judge again now"), permissions=["operate"])
    def judge(self, request: HttpRequest, rows: QuerySet[RiskScore]) -> None:
        moment = now()
        self.run(request, rows, lambda row: risk.score(row.subject_kind, row.subject_id, now=moment), "judged")

    @admin.action(description=_("Throttle"), permissions=["operate"])
    def throttle(self, request: HttpRequest, rows: QuerySet[RiskScore]) -> None:
        self._act(request, rows, RiskActionKind.THROTTLE, "throttled")

    @admin.action(description=_("Stop free credit"), permissions=["operate"])
    def suspend(self, request: HttpRequest, rows: QuerySet[RiskScore]) -> None:
        self._act(request, rows, RiskActionKind.SUSPEND, "free credit stopped")

    @admin.action(description=_("Freeze the wallet"), permissions=["operate"])
    def freeze(self, request: HttpRequest, rows: QuerySet[RiskScore]) -> None:
        self._act(request, rows, RiskActionKind.FREEZE, "frozen")

    @admin.action(description=_("Disable: refuse every call"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[RiskScore]) -> None:
        self._act(request, rows, RiskActionKind.DISABLE, "disabled")

    def _act(self, request: HttpRequest, rows: QuerySet[RiskScore], kind: RiskActionKind, done: str) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}

        def act(row: RiskScore) -> str:
            reason = f"Risk score {row.score}"
            return risk_actions.take_action(
                row.subject_kind, row.subject_id, kind.value, reason=reason, score_id=row.id, **who
            )

        self.run(request, rows, act, done)


@admin.register(RiskSignal)
class RiskSignalAdmin(ReadOnlyAdmin):
    list_display = ("id", "score", "code", "points", "measured", "explained")
    list_filter = ("code",)
    list_select_related = ("score",)
    search_fields = ("=score__subject_id", "=score__id")
    search_help_text = _("A whole id of an app, end user or developer, or of a score.")
    ordering = ("-id",)
    fields = ("score", "code", "points", "measured", "explained")

    @admin.display(description=_("measured"))
    def measured(self, row: RiskSignal) -> str:
        return risk_rules.measure(row.value, row.unit)

    @admin.display(description=_("explanation"))
    def explained(self, row: RiskSignal) -> str:
        return _explained(row)


class ActionForm(forms.ModelForm):
    class Meta:
        model = RiskAction
        fields = ("subject_kind", "subject_id", "kind", "reason")


@admin.register(RiskAction)
class RiskActionAdmin(ServiceAdmin):
    form = ActionForm
    list_display = ("id", "kind", "subject_kind", "subject_id", "reason", "created_at", "created_by", "undone_at")
    list_filter = ("kind", "subject_kind", ("undone_at", admin.EmptyFieldListFilter))
    search_fields = ("=subject_id", "=id", "=score_id")
    search_help_text = _("A whole id of an app, end user or developer, of an action or of a score.")
    ordering = ("-id",)
    actions = ("undo",)

    def get_fields(self, request: HttpRequest, obj: RiskAction | None = None) -> tuple[str, ...]:
        asked = ("subject_kind", "subject_id", "kind", "reason")
        if obj is None:
            return asked
        return ("id", *asked, "score_id", "before", "created_at", "created_by", "undone_at", "undone_by")

    def has_change_permission(self, request: HttpRequest, obj: RiskAction | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: RiskAction, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        obj.pk = risk_actions.take_action(
            given["subject_kind"],
            given["subject_id"],
            given["kind"],
            reason=given["reason"],
            now=now(),
            actor=actor_of(request),
        )

    @admin.action(description=_("Undo"), permissions=["operate"])
    def undo(self, request: HttpRequest, rows: QuerySet[RiskAction]) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        self.run(request, rows, lambda row: risk_actions.undo_action(row.pk, **who), "undone")


@admin.register(Fingerprint)
class FingerprintAdmin(ReadOnlyAdmin):
    """Keyed hashes: which end users share a client, never where or what it is."""

    list_display = (
        *("id", "fingerprint", "network", "end_user_id", "app_id", "anonymous", "sessions"),
        *("first_seen_at", "last_seen_at"),
    )
    list_filter = ("anonymous", "last_seen_at")
    search_fields = ("=fingerprint", "=network", "=end_user_id", "=app_id")
    search_help_text = _("A whole hash of a client or network, or a whole id of an end user or app.")
    ordering = ("-id",)


@admin.register(Anomaly)
class AnomalyAdmin(ReadOnlyAdmin):
    list_display = ("id", "hour", "metric", "scope", "scope_id", "found", "usual", "limit", "days")
    list_filter = ("metric", "scope", "hour")
    search_fields = ("=scope_id",)
    search_help_text = _("A whole id of an app or developer.")
    ordering = ("-id",)
    fields = ("hour", "metric", "scope", "scope_id", "found", "usual", "limit", "days", "created_at")

    @admin.display(description=_("value"), ordering="value")
    def found(self, row: Anomaly) -> str:
        return shown(row.metric, row.value)

    @admin.display(description=_("baseline"), ordering="baseline")
    def usual(self, row: Anomaly) -> str:
        return shown(row.metric, row.baseline)

    @admin.display(description=_("threshold"), ordering="threshold")
    def limit(self, row: Anomaly) -> str:
        return shown(row.metric, row.threshold)


@admin.register(AppHour)
class AppHourAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "hour",
        "app_id",
        "developer_id",
        "calls",
        "failed",
        usd_column("spend_nano", _("spend (USD)")),
    )
    list_filter = ("hour",)
    search_fields = ("=app_id", "=developer_id")
    search_help_text = _("A whole id of an app or developer.")
    ordering = ("-hour", "app_id")
    fields = ("hour", "app_id", "developer_id", "calls", "failed", "spend")

    @admin.display(description=_("spend (USD)"))
    def spend(self, row: AppHour) -> str:
        return shown("spend", row.spend_nano)
