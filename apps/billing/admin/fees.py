"""The catalogue of fees for operators: versions are written, apps charge them, consents and charges are read."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.billing.models.fees import AppFee, Fee, FeeCharge, FeeSubscription
from apps.billing.services import fees
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, UsdField, actor_of, usd_column
from apps.core.clock import now

_AMOUNT = usd_column("amount_nano", _("amount, USD"))
_TOLD = ("disclosure_en", "disclosure_zh")
_ASKED = ("key", "name", "type", "route", "amount", "interval", "developer_share_bps", *_TOLD)


class FeeForm(forms.ModelForm):
    amount = UsdField(label=_("Amount"))

    class Meta:
        model = Fee
        fields = ("key", "name", "type", "route", "interval", "developer_share_bps", *_TOLD)
        help_texts = {
            "key": _("The key of a fee that is there makes its next version; who agreed to another keeps that one."),
            "disclosure_en": _("What the fee is for. What it costs and how it ends is added by itself."),
        }


@admin.register(Fee)
class FeeAdmin(ServiceAdmin):
    """Versions never change: another amount or wording is added as the next one."""

    form = FeeForm
    list_display = ("key", "version", "name", "type", "route", _AMOUNT, "interval", "developer_share_bps", "created_at")
    list_filter = ("type", "route", "interval")
    search_fields = ("key", "name")
    ordering = ("key", "-version")

    def get_fields(self, request: HttpRequest, obj: Fee | None = None) -> Any:
        if obj is None:
            return _ASKED
        shown = [name for name in _ASKED if name != "amount"]
        return ("id", "version", *shown, _AMOUNT, "created_at", "created_by")

    def get_readonly_fields(self, request: HttpRequest, obj: Fee | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Fee | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Fee, form: Any, change: bool) -> None:
        given = {name: form.cleaned_data[name] for name in _ASKED}
        key = given.pop("key")
        obj.pk = fees.publish_fee(key, fees.FeeInput(**given), **_who(request))


@admin.register(AppFee)
class AppFeeAdmin(ServiceAdmin):
    list_display = ("id", "app_id", "fee_key", "required", "created_at", "withdrawn_at")
    list_filter = ("required", "fee_key", ("withdrawn_at", admin.EmptyFieldListFilter))
    search_fields = ("=app_id", "=fee_key")
    ordering = ("-id",)
    actions = ("withdraw",)

    def get_fields(self, request: HttpRequest, obj: AppFee | None = None) -> tuple[str, ...]:
        asked = ("app_id", "fee_key", "required")
        return asked if obj is None else ("id", *asked, "created_at", "created_by", "withdrawn_at")

    def has_change_permission(self, request: HttpRequest, obj: AppFee | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AppFee, form: Any, change: bool) -> None:
        given = form.cleaned_data
        obj.pk = fees.charge_in_app(
            given["app_id"].strip(), given["fee_key"].strip(), required=given["required"], **_who(request)
        )

    @admin.action(description=_("Withdraw: charge nobody again"), permissions=["operate"])
    def withdraw(self, request: HttpRequest, rows: QuerySet[AppFee]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: fees.withdraw_from_app(row.pk, **who), "withdrawn")


@admin.register(FeeSubscription)
class FeeSubscriptionAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "end_user_id", "app_id", "fee", _AMOUNT, "status", "periods", "paid_until", "acknowledged_at"),
    )
    list_filter = ("status", "fee_key")
    list_select_related = ("fee",)
    search_fields = ("=id", "=end_user_id", "=app_id", "=developer_id")
    search_help_text = _("A whole id of a subscription, end user, app or developer.")
    ordering = ("-id",)
    fields = (
        *("id", "end_user_id", "app_id", "developer_id", "fee", _AMOUNT, "text", "language", "acknowledged_at"),
        *("status", "periods", "paid_until", "suspended_at", "cancelled_at", "ended_at"),
    )


@admin.register(FeeCharge)
class FeeChargeAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "subscription", "period", _AMOUNT, usd_column("developer_nano", _("developer's share, USD"))),
        *("transaction_id", "period_start", "period_end", "created_at"),
    )
    search_fields = ("=id", "=subscription__id", "=subscription__end_user_id")
    list_select_related = ("subscription",)
    ordering = ("-id",)
    fields = (
        *("id", "subscription", "period", _AMOUNT, usd_column("developer_nano", _("developer's share, USD"))),
        *("transaction_id", "period_start", "period_end", "created_at"),
    )


def _who(request: HttpRequest) -> dict[str, Any]:
    return {"now": now(), "actor": actor_of(request)}
