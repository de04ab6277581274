"""Top-ups for operators: what was asked of Stripe, what came of it, and what goes back."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.models.top_ups import AutoTopUp, BillingCustomer, Refund, RefundSource, TopUp
from apps.billing.services import auto_top_ups, refunds, top_up_problems, top_ups
from apps.core.admin_base import ReadOnlyAdmin, UsdField, actor_of, id_column, usd_column
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT


def cents_column(name: str, label: Any) -> Any:
    """Return a column that shows a field of cents in USD, under `label`."""

    @admin.display(description=label, ordering=name)
    def column(row: Any) -> str:
        return f"{getattr(row, name) / 100:.2f}"

    column.__name__ = f"{name}_usd"
    return column


def ledger_link(name: str, label: Any) -> Any:
    """Return a column that leads to the ledger transaction whose id a field holds."""

    @admin.display(description=label)
    def column(row: Any) -> str:
        posted = getattr(row, name)
        if posted is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:ledger_ledgertransaction_change", args=[posted]), posted
        )

    column.__name__ = f"{name}_link"
    return column


_AMOUNT = cents_column("amount_cents", _("credit (USD)"))
_TAX = cents_column("tax_cents", _("tax (USD)"))
_REFUNDED = cents_column("refunded_cents", _("refunded (USD)"))
_REFUNDED_TAX = cents_column("refunded_tax_cents", _("tax refunded (USD)"))
_POSTED = ledger_link("transaction_id", _("ledger transaction"))


class ProblemFilter(admin.SimpleListFilter):
    """Payments that differ from what was asked for."""

    title = _("problem")
    parameter_name = "problem"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", gettext("to be looked at"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.exclude(problem="") if self.value() == "1" else queryset


class RefundForm(forms.ModelForm):
    """What an operator may do to a top-up, with a reason: give back what of it is unused, settle a problem."""

    refund_usd = UsdField(
        label=_("Refund (USD)"), required=False, initial="", help_text=_("Credit to give back; its tax goes with it.")
    )
    refund_reason = forms.CharField(label=_("Reason of the refund"), required=False, max_length=500)
    problem_decision = forms.ChoiceField(
        label=_("The problem"),
        required=False,
        choices=[
            ("", _("leave it")),
            ("credit", _("credit what was really received")),
            ("close", _("close it: what was received has been refunded at Stripe")),
        ],
    )
    problem_reason = forms.CharField(label=_("Reason of that"), required=False, max_length=500)
    # Made with the form, so that a form sent twice refunds once.
    refund_key = forms.CharField(widget=forms.HiddenInput)

    class Meta:
        model = TopUp
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["refund_key"].initial = new_id("key")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        amount = cleaned.get("refund_usd") or 0
        if amount % NANO_PER_CENT:
            self.add_error("refund_usd", gettext("Whole cents."))
        if amount and not cleaned.get("refund_reason", "").strip():
            self.add_error("refund_reason", gettext("Say why."))
        if cleaned.get("problem_decision") and not cleaned.get("problem_reason", "").strip():
            self.add_error("problem_reason", gettext("Say why."))
        return cleaned


@admin.register(TopUp)
class TopUpAdmin(ReadOnlyAdmin):
    """Credit that was bought. The payments that differ from what was asked for are under "problem"."""

    form = RefundForm
    list_display = ("id", "owner_id", "source", _AMOUNT, _TAX, "status", "problem", _REFUNDED, "created_at", "paid_at")
    list_filter = (ProblemFilter, "status", "source", "owner_kind", "created_at")
    search_fields = ("=id", "=owner_id", "=checkout_session_id", "=payment_intent_id", "=charge_id")
    search_help_text = _("The whole id of a top-up, an owner, a session, payment or charge.")
    ordering = ("-id",)
    actions = ("settle_now", "refund_unused")
    readonly_fields = (
        "id",
        "owner_kind",
        "owner_id",
        "app_id",
        "account_id",
        "source",
        "status",
        "problem",
        "error_code",
        _AMOUNT,
        _TAX,
        _REFUNDED,
        _REFUNDED_TAX,
        "refundable_usd",
        _POSTED,
        "checkout_session_id",
        "payment_intent_id",
        "charge_id",
        "receipt_url",
        "save_card",
        "created_at",
        "paid_at",
        "next_look_at",
        "actor",
    )
    fields = (*readonly_fields, "refund_usd", "refund_reason", "refund_key", "problem_decision", "problem_reason")

    def has_change_permission(self, request: HttpRequest, obj: TopUp | None = None) -> bool:
        return self.has_operate_permission(request)

    def save_model(self, request: HttpRequest, obj: TopUp, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        settle = {"credit": top_up_problems.credit_received, "close": top_up_problems.close_problem}
        if decision := given.get("problem_decision"):
            settle[decision](obj.pk, reason=given["problem_reason"], now=now(), actor=actor_of(request))
        if given.get("refund_usd"):
            refunds.refund_top_up(
                obj.pk,
                amount_cents=given["refund_usd"] // NANO_PER_CENT,
                source=RefundSource.OPERATOR,
                reason=given["refund_reason"],
                idempotency_key=given["refund_key"],
                now=now(),
                actor=actor_of(request),
            )

    @admin.action(description=_("Settle now: ask Stripe how they stand"), permissions=["operate"])
    def settle_now(self, request: HttpRequest, rows: QuerySet[TopUp]) -> None:
        self.run(request, rows, lambda row: top_ups.go_on(row.pk, now=now()), gettext("settled"))

    @admin.action(description=_("Refund all that is unused"), permissions=["operate"])
    def refund_unused(self, request: HttpRequest, rows: QuerySet[TopUp]) -> None:
        def refund(row: TopUp) -> object:
            return refunds.refund_top_up(
                row.pk,
                source=RefundSource.OPERATOR,
                reason=gettext("unused credit, by an operator"),
                idempotency_key=new_id("key"),
                now=now(),
                actor=actor_of(request),
            )

        self.run(request, rows, refund, gettext("refund asked for"))

    @admin.display(description=_("refundable (USD)"))
    def refundable_usd(self, row: TopUp) -> str:
        return f"{refunds.refundable_cents(row.pk) / 100:.2f}"


@admin.register(AutoTopUp)
class AutoTopUpAdmin(ReadOnlyAdmin):
    """Wallets that are topped up by themselves."""

    list_display = (
        "account_id",
        "owner_id",
        usd_column("threshold_nano", _("threshold (USD)")),
        _AMOUNT,
        cents_column("monthly_cap_cents", _("most a month (USD)")),
        "enabled",
        "failures",
        "paused_reason",
    )
    list_filter = ("enabled", "paused_reason", "owner_kind")
    search_fields = ("=owner_id",)
    ordering = ("account_id",)
    actions = ("switch_off",)

    @admin.action(description=_("Switch off"), permissions=["operate"])
    def switch_off(self, request: HttpRequest, rows: QuerySet[AutoTopUp]) -> None:
        def switch(row: AutoTopUp) -> None:
            auto_top_ups.switch_off(row.pk, now=now(), actor=actor_of(request))

        self.run(request, rows, switch, gettext("switched off"))


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    """Money of top-ups that went back, or is on its way."""

    list_display = (
        "id",
        id_column("top_up_id", _("top-up")),
        "source",
        _AMOUNT,
        _TAX,
        "status",
        "reason",
        "created_at",
        "actor",
    )
    list_filter = ("status", "source", "created_at")
    search_fields = ("=id", "=top_up__id", "=stripe_refund_id")
    ordering = ("-id",)
    actions = ("settle_now",)

    @admin.action(description=_("Settle now: ask Stripe how they stand"), permissions=["operate"])
    def settle_now(self, request: HttpRequest, rows: QuerySet[Refund]) -> None:
        settle: Callable[[Refund], object] = lambda row: refunds.settle_refund(row.pk, now=now())  # noqa: E731
        self.run(request, rows, settle, gettext("settled"))


@admin.register(BillingCustomer)
class BillingCustomerAdmin(ReadOnlyAdmin):
    """What Stripe knows wallets' owners by; of a card no more than its last four digits."""

    list_display = ("account_id", "customer_id", "card_brand", "card_last4", "card_exp_month", "card_exp_year")
    search_fields = ("=customer_id",)
    ordering = ("account_id",)
