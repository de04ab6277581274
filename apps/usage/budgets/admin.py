"""Budgets and alerts for operators: budgets are set and changed by services, everything they lead to is only read."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of
from apps.core.clock import now
from apps.core.money import MAX_NANO, NANO_PER_USD, nano_from_usd, usd
from apps.core.shown_once import show_once
from apps.usage.models import Alert, AlertEndpoint, Budget, BudgetPeriod, BudgetUse
from apps.usage.services import alerts, budgets

_MADE = ("developer_id", "scope", "scope_id", "period")
_CHANGED = ("amount_usd", "hard", "rollover", "thresholds", "enabled")
_WRITTEN = ("id", "end_user_id", "successors", "created_at", "created_by", "changed_at", "changed_by")


class BudgetForm(forms.ModelForm):
    """A budget with its amount in USD."""

    amount_usd = forms.DecimalField(
        label=_("Amount (USD)"), min_value=0, max_value=MAX_NANO // NANO_PER_USD, decimal_places=9
    )

    class Meta:
        model = Budget
        fields = ("developer_id", "scope", "scope_id", "period", "hard", "rollover", "thresholds", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.amount_nano is not None:
            self.fields["amount_usd"].initial = usd(self.instance.amount_nano)


@admin.register(Budget)
class BudgetAdmin(ServiceAdmin):
    form = BudgetForm
    list_display = (
        *("id", "scope", "scope_id", "period", "amount", "hard", "rollover", "enabled", "developer_id", "end_user_id"),
        "changed_at",
    )
    list_filter = ("scope", "period", "hard", "enabled")
    search_fields = ("=id", "=scope_id", "=developer_id", "=end_user_id")
    search_help_text = _("A whole id of a budget, of whom it is for, or of its owner.")
    ordering = ("-id",)

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return (*_MADE, *_CHANGED) if obj is None else ("id", *_MADE, *_CHANGED, *_WRITTEN[1:])

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return () if obj is None else (*_MADE, *_WRITTEN)

    def save_model(self, request: HttpRequest, obj: Budget, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        values = {name: given[name] for name in ("hard", "rollover", "thresholds")}
        values["amount"] = nano_from_usd(given["amount_usd"])
        if change:
            budgets.update_budget(obj.pk, **values, enabled=given["enabled"], **who)
            return
        made = {name: given[name] for name in ("scope", "scope_id", "period")}
        obj.pk = budgets.create_budget(**made, **values, developer_id=given["developer_id"] or None, **who)
        if not given["enabled"]:
            budgets.disable_budget(obj.pk, **who)

    @admin.display(description=_("amount (USD)"), ordering="amount_nano")
    def amount(self, row: Budget) -> str:
        return usd(row.amount_nano)


@admin.register(BudgetPeriod)
class BudgetPeriodAdmin(ReadOnlyAdmin):
    list_display = ("id", "budget", "period_start", "limit_usd", "carried_usd", "spent_usd", "reserved_usd")
    list_select_related = ("budget",)
    search_fields = ("=budget__id", "=budget__scope_id")
    search_help_text = _("A whole id of a budget, or of whom it is for.")
    ordering = ("-id",)
    fields = ("budget", "period_start", "limit_usd", "carried_usd", "spent_usd", "reserved_usd")

    @admin.display(description=_("limit (USD)"), ordering="limit_nano")
    def limit_usd(self, row: BudgetPeriod) -> str:
        return usd(row.limit_nano)

    @admin.display(description=_("carried over (USD)"), ordering="carried_nano")
    def carried_usd(self, row: BudgetPeriod) -> str:
        return usd(row.carried_nano)

    @admin.display(description=_("spent (USD)"), ordering="spent_nano")
    def spent_usd(self, row: BudgetPeriod) -> str:
        return usd(row.spent_nano)

    @admin.display(description=_("reserved (USD)"), ordering="reserved_nano")
    def reserved_usd(self, row: BudgetPeriod) -> str:
        return usd(row.reserved_nano)


@admin.register(BudgetUse)
class BudgetUseAdmin(ReadOnlyAdmin):
    list_display = ("request_id", "budget", "period", "reserved_usd", "spent_usd", "state", "created_at", "closed_at")
    list_select_related = ("budget", "period")
    search_fields = ("=request_id",)
    search_help_text = _("A whole request id.")
    ordering = ("-id",)
    fields = ("request_id", "budget", "period", "reserved_usd", "spent_usd", "state", "created_at", "closed_at")

    @admin.display(description=_("reserved (USD)"))
    def reserved_usd(self, row: BudgetUse) -> str:
        return usd(row.reserved_nano)

    @admin.display(description=_("spent (USD)"))
    def spent_usd(self, row: BudgetUse) -> str:
        return usd(row.spent_nano)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "kind", "scope", "scope_id", "budget", "threshold", "spent_usd", "limit_usd", "period_start"),
        *("created_at", "delivered_at", "attempts", "last_error"),
    )
    list_filter = ("kind", "scope", ("delivered_at", admin.EmptyFieldListFilter))
    list_select_related = ("budget",)
    search_fields = ("=budget__id", "=scope_id", "=developer_id")
    search_help_text = _("A whole id of a budget, of whom it is for, or of its developer.")
    ordering = ("-id",)
    exclude = ("limit_nano", "spent_nano")
    readonly_fields = ("spent_usd", "limit_usd")

    @admin.display(description=_("spent (USD)"))
    def spent_usd(self, row: Alert) -> str:
        return "–" if row.spent_nano is None else usd(row.spent_nano)

    @admin.display(description=_("limit (USD)"))
    def limit_usd(self, row: Alert) -> str:
        return "–" if row.limit_nano is None else usd(row.limit_nano)


@admin.register(AlertEndpoint)
class AlertEndpointAdmin(ServiceAdmin):
    """Set anew to get a new secret: the page after saving is the only one that shows it."""

    list_display = ("id", "developer_id", "url", "hint", "enabled", "changed_at", "changed_by")
    search_fields = ("=id", "=developer_id")
    ordering = ("-id",)
    actions = ("enable", "disable")

    def get_fields(self, request: HttpRequest, obj: AlertEndpoint | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("developer_id", "url")
        return ("id", "developer_id", "url", "hint", "enabled", "created_at", "created_by", "changed_at", "changed_by")

    def has_change_permission(self, request: HttpRequest, obj: AlertEndpoint | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        owner = given["developer_id"] or None
        obj.pk, obj.issued = alerts.set_endpoint(owner, given["url"], now=now(), actor=actor_of(request))

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(self, request, obj, obj.issued, _now("A new secret for alerts"))

    @admin.action(description=_("Enable: post alerts"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[AlertEndpoint]) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        self.run(request, rows, lambda row: alerts.switch_endpoint(row.pk, True, **who), "enabled")

    @admin.action(description=_("Disable: only log alerts"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[AlertEndpoint]) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        self.run(request, rows, lambda row: alerts.switch_endpoint(row.pk, False, **who), "disabled")
