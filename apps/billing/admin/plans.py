"""Plans for operators: the catalogue is edited, plans are given, what Stripe and measuring wrote is read."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.billing.models.invoice_returns import InvoiceReturn
from apps.billing.models.plans import (
    MAX_CENTS,
    GateAttempt,
    Plan,
    PlanPrice,
    PlanUse,
    Subscription,
    SubscriptionInvoice,
)
from apps.billing.services import plans, subscriptions
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of, usd_column
from apps.core.clock import now
from apps.core.money import NANO_PER_CENT, usd
from apps.features.gates import GATES

_LIMITS = ("tokens_per_month", "max_virtual_keys", "retention_days")
_ASKED = ("name", "description", "price_usd", *_LIMITS, "sla", "features", "position", "active")
_WRITTEN = ("stripe_price_id", "created_at", "changed_at", "changed_by")


def _price_column(name: str) -> Any:
    @admin.display(description=_("price a month (USD)"), ordering=name)
    def column(row: Any) -> str:
        return usd(getattr(row, name) * NANO_PER_CENT)

    return column


class PlanForm(forms.ModelForm):
    """A plan with its price in USD; a limit that is left empty is none."""

    price_usd = forms.DecimalField(
        label=_("Price a month (USD)"), min_value=0, max_value=MAX_CENTS // 100, decimal_places=2
    )
    features = forms.MultipleChoiceField(
        label=_("Features included"),
        choices=[(gate, gate) for gate in GATES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = Plan
        fields = ("key", "name", "description", *_LIMITS, "sla", "position", "active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.price_cents is not None:
            self.fields["price_usd"].initial = usd(self.instance.price_cents * NANO_PER_CENT)[:-2]
        self.fields["features"].initial = list(self.instance.features or ())


@admin.register(Plan)
class PlanAdmin(ServiceAdmin):
    """What is changed here binds the present subscribers too; a new price is for new ones and changes of plan."""

    form = PlanForm
    list_display = ("key", "name", _price_column("price_cents"), *_LIMITS, "sla", "position", "active", "changed_at")
    list_filter = ("active",)
    search_fields = ("key", "name")
    ordering = ("position", "key")

    def get_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("key", *_ASKED) if obj is None else ("key", *_ASKED, *_WRITTEN)

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return () if obj is None else ("key", *_WRITTEN)

    def save_model(self, request: HttpRequest, obj: Plan, form: Any, change: bool) -> None:
        given, who = form.cleaned_data, _who(request)
        values = {name: given[name] for name in _ASKED if name != "price_usd"}
        values["price_cents"] = int(given["price_usd"] * 100)
        if change:
            plans.update_plan(obj.pk, **values, **who)
        else:
            plans.create_plan(given["key"], plans.PlanInput(**values), **who)


@admin.register(PlanPrice)
class PlanPriceAdmin(ReadOnlyAdmin):
    list_display = ("stripe_price_id", "plan_key", _price_column("price_cents"), "created_at")
    list_filter = ("plan_key",)
    search_fields = ("=stripe_price_id",)
    ordering = ("-created_at",)


class SubscriptionForm(forms.ModelForm):
    """A plan that the operator gives and settles outside of Stripe."""

    plan_key = forms.ChoiceField(label=_("Plan"))

    class Meta:
        model = Subscription
        fields = ("developer_id", "plan_key")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "plan_key" in self.fields:
            rows = Plan.objects.order_by("position", "key").values_list("key", "name")
            self.fields["plan_key"].choices = list(rows)  # type: ignore[attr-defined]


@admin.register(Subscription)
class SubscriptionAdmin(ServiceAdmin):
    """Added here is a plan without Stripe; those of Stripe's are changed at Stripe and followed."""

    form = SubscriptionForm
    list_display = (
        *("id", "developer_id", "plan_key", "status", "manual", "period_end", "cancel_at_period_end"),
        *("past_due_since", "created_at", "ended_at"),
    )
    list_filter = ("status", "plan_key", "manual")
    search_fields = ("=id", "=developer_id", "=stripe_subscription_id", "=stripe_customer_id")
    search_help_text = _("A whole id of a subscription or developer, ours or Stripe's.")
    ordering = ("-created_at",)
    actions = ("end", "follow")

    def get_fields(self, request: HttpRequest, obj: Subscription | None = None) -> Any:
        return ("developer_id", "plan_key") if obj is None else [field.name for field in Subscription._meta.fields]

    def has_change_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        given = form.cleaned_data
        obj.pk = plans.assign_plan(given["developer_id"].strip(), given["plan_key"], **_who(request))

    @admin.action(description=_("End (plans given here)"), permissions=["operate"])
    def end(self, request: HttpRequest, rows: QuerySet[Subscription]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: plans.end_manual(row.pk, **who), "ended")

    @admin.action(description=_("Ask Stripe how it stands"), permissions=["operate"])
    def follow(self, request: HttpRequest, rows: QuerySet[Subscription]) -> None:
        moment = now()
        self.run(request, rows, lambda row: subscriptions.look(row.pk, now=moment), "asked")


@admin.register(SubscriptionInvoice)
class SubscriptionInvoiceAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "developer_id", "paid", usd_column("amount_nano", _("amount without tax, USD"))),
        *(usd_column("tax_nano", _("tax, USD")), "failures", "transaction_id", "created_at", "paid_at"),
    )
    list_filter = ("paid", "created_at")
    search_fields = ("=id", "=developer_id", "=subscription_id")
    ordering = ("-created_at",)
    fields = (
        *("id", "subscription_id", "developer_id", "paid", usd_column("amount_nano", _("amount without tax, USD"))),
        *(usd_column("tax_nano", _("tax, USD")), "failures", "transaction_id", "created_at", "paid_at"),
    )


@admin.register(InvoiceReturn)
class InvoiceReturnAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "kind", "status", "developer_id", usd_column("amount_nano", _("amount without tax, USD"))),
        *(usd_column("tax_nano", _("tax, USD")), "invoice_id", "created_at"),
    )
    list_filter = ("kind", "status", "created_at")
    search_fields = ("=id", "=invoice_id", "=developer_id", "=subscription_id")
    ordering = ("-created_at",)
    fields = (
        *("id", "kind", "status", "stripe_status", "invoice_id", "subscription_id", "developer_id"),
        *(usd_column("amount_nano", _("amount without tax, USD")), usd_column("tax_nano", _("tax, USD"))),
        *("transaction_id", "reversal_id", "created_at", "updated_at"),
    )


@admin.register(PlanUse)
class PlanUseAdmin(ReadOnlyAdmin):
    list_display = ("developer_id", "month", "tokens", "settled_tokens", "counted_until", "measured_at", "closed_at")
    list_filter = ("month", ("closed_at", admin.EmptyFieldListFilter))
    search_fields = ("=developer_id",)
    ordering = ("-month", "-tokens")


@admin.register(GateAttempt)
class GateAttemptAdmin(ReadOnlyAdmin):
    list_display = ("id", "developer_id", "plan_key", "gate", "subject", "actor", "created_at")
    list_filter = ("gate", "plan_key", "created_at")
    search_fields = ("=developer_id", "=subject")
    ordering = ("-id",)


def _who(request: HttpRequest) -> dict[str, Any]:
    return {"now": now(), "actor": actor_of(request)}
