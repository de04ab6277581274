"""Value pricing for operators: baselines are entered, measured and accepted, agreements made, bills read."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.billing.models.value import BaselineMonth, BaselineSource, ValueAgreement, ValueBill
from apps.billing.services import value
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, UsdField, actor_of, usd_column
from apps.core.clock import now
from apps.core.money import NANO_PER_USD


class BaselineForm(forms.ModelForm):
    """A month that counts at once. What is measured here takes neither a cost nor evidence."""

    cost = UsdField(label=_("Cost"))
    evidence = forms.CharField(
        label=_("Evidence"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("An invoice's number and address. Not needed for what is measured here."),
    )

    class Meta:
        model = BaselineMonth
        fields = ("developer_id", "month", "source")
        help_texts = {"month": _("The first day of the month.")}


@admin.register(BaselineMonth)
class BaselineMonthAdmin(ServiceAdmin):
    form = BaselineForm
    list_display = (
        *("id", "developer_id", "month", usd_column("cost_nano", _("cost, USD")), "source", "evidence"),
        *("created_at", "created_by", "accepted_at", "accepted_by"),
    )
    list_filter = ("source", ("accepted_at", admin.EmptyFieldListFilter))
    search_fields = ("=id", "=developer_id")
    ordering = ("-month", "-id")
    actions = ("accept",)

    def get_fields(self, request: HttpRequest, obj: BaselineMonth | None = None) -> Any:
        return ("developer_id", "month", "source", "cost", "evidence") if obj is None else self.list_display

    def get_readonly_fields(self, request: HttpRequest, obj: BaselineMonth | None = None) -> Any:
        return () if obj is None else self.list_display

    def has_change_permission(self, request: HttpRequest, obj: BaselineMonth | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: BaselineMonth, form: Any, change: bool) -> None:
        given, who = form.cleaned_data, _who(request)
        developer_id = given["developer_id"].strip()
        if given["source"] == BaselineSource.MEASURED:
            obj.pk = value.measure_baseline(developer_id, given["month"], **who)
            return
        obj.pk = value.enter_baseline(
            developer_id, given["month"], given["cost"], evidence=given["evidence"], accepted=True, **who
        )

    @admin.action(description=_("Accept: let it count"), permissions=["operate"])
    def accept(self, request: HttpRequest, rows: QuerySet[BaselineMonth]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: value.accept_baseline(row.pk, **who), "accepted")


class AgreementForm(forms.ModelForm):
    base_fee = UsdField(label=_("Base fee"))

    class Meta:
        model = ValueAgreement
        fields = ("developer_id", "starts_month", "share_bps")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "share_bps" in self.fields:
            self.fields["share_bps"].initial = settings.VALUE_SHARE_BPS
            self.fields["base_fee"].initial = settings.VALUE_BASE_FEE_USD * NANO_PER_USD


@admin.register(ValueAgreement)
class ValueAgreementAdmin(ServiceAdmin):
    form = AgreementForm
    list_display = (
        *("id", "developer_id", "share_bps", usd_column("base_fee_nano", _("base fee, USD"))),
        *(usd_column("baseline_nano", _("baseline a month, USD")), "starts_month", "ends_month", "created_at"),
    )
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id", "=developer_id")
    ordering = ("-id",)
    actions = ("end",)

    def get_fields(self, request: HttpRequest, obj: ValueAgreement | None = None) -> Any:
        return ("developer_id", "starts_month", "share_bps", "base_fee") if obj is None else self.list_display

    def get_readonly_fields(self, request: HttpRequest, obj: ValueAgreement | None = None) -> Any:
        return () if obj is None else self.list_display

    def has_change_permission(self, request: HttpRequest, obj: ValueAgreement | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ValueAgreement, form: Any, change: bool) -> None:
        given = form.cleaned_data
        obj.pk = value.agree(
            given["developer_id"].strip(),
            given["starts_month"],
            share_bps=given["share_bps"],
            base_fee=given["base_fee"],
            **_who(request),
        )

    @admin.action(description=_("End with this month"), permissions=["operate"])
    def end(self, request: HttpRequest, rows: QuerySet[ValueAgreement]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: value.end_agreement(row.pk, **who), "ended")


@admin.register(ValueBill)
class ValueBillAdmin(ReadOnlyAdmin):
    list_display = (
        *("id", "developer_id", "month", usd_column("baseline_nano", _("baseline, USD"))),
        *(usd_column("actual_nano", _("actual cost, USD")), usd_column("savings_nano", _("saved, USD"))),
        *(usd_column("fee_nano", _("fee, USD")), "transaction_id", "created_at"),
    )
    list_filter = ("month",)
    search_fields = ("=id", "=developer_id")
    ordering = ("-id",)
    fields = ("agreement", *list_display)


def _who(request: HttpRequest) -> dict[str, Any]:
    return {"now": now(), "actor": actor_of(request)}
