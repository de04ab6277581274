"""Credit for operators: grants with a reason, promo codes, allowances, limits of wallets; the rest is only read."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.models.credits import (
    AppAllowance,
    CreditLot,
    LotDraw,
    LotKind,
    Notice,
    PromoCode,
    PromoRedemption,
    WalletLimit,
)
from apps.billing.services.allowances import set_monthly_allowance
from apps.billing.services.grants import grant_promo
from apps.billing.services.promos import create_promo_code, end_promo_code
from apps.billing.services.wallet_limits import set_wallet_limit
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, UsdField, actor_of, usd_column
from apps.core.clock import now
from apps.core.ids import new_id


class OptionalUsdField(UsdField):
    """Ask for an amount in USD that may be left empty: then it is None."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "initial": None, **options})

    def clean(self, value: Any) -> Any:
        return super().clean(value) if value and value.strip() else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(initial is None) != bool(not (data or "").strip()) or super().has_changed(initial, data)


class GrantForm(forms.ModelForm):
    """Credit that an operator gives to a wallet."""

    kind = forms.ChoiceField(
        label=_("Kind"), choices=[(kind.value, kind.label) for kind in (LotKind.GRANT, LotKind.PROMO)]
    )
    amount = UsdField(label=_("Amount (USD)"))
    reason = forms.CharField(label=_("Reason"), max_length=200)
    # Made with the form, so that a form sent twice gives once.
    lot_id = forms.CharField(widget=forms.HiddenInput, max_length=40)

    class Meta:
        model = CreditLot
        fields = ("account_id", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["lot_id"].initial = new_id("lot")


class DrawInline(admin.TabularInline):
    model = LotDraw
    fields = readonly_fields = ("kind", usd_column("amount_nano", _("amount (USD)")), "transaction_id", "created_at")
    ordering = ("id",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


_AMOUNTS = (
    usd_column("amount_nano", _("amount (USD)")),
    usd_column("remaining_nano", _("remaining (USD)")),
)


@admin.register(CreditLot)
class CreditLotAdmin(ServiceAdmin):
    """What wallets consist of. To add one is to grant credit."""

    form = GrantForm
    list_display = ("id", "account_id", "kind", *_AMOUNTS, "expires_at", "reference", "created_at", "closed_at")
    list_filter = ("kind", ("closed_at", admin.EmptyFieldListFilter))
    search_fields = ("=id", "=account_id", "=reference")
    search_help_text = _("A whole id of a lot, its wallet's number, or what brought it.")
    ordering = ("-id",)

    def get_fields(self, request: HttpRequest, obj: CreditLot | None = None) -> Any:
        if obj is None:
            return ("account_id", "kind", "amount", "expires_at", "reason", "lot_id")
        balance = usd_column("balance_nano", _("balance afterwards (USD)"))
        return (
            *("id", "account_id", "kind", *_AMOUNTS, balance, "expires_at", "transaction_id", "origin_account_id"),
            *("reference", "created_at", "closed_at"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: CreditLot | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def get_inlines(self, request: HttpRequest, obj: CreditLot | None) -> Any:
        return () if obj is None else (DrawInline,)

    def has_change_permission(self, request: HttpRequest, obj: CreditLot | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: CreditLot, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        obj.pk = grant_promo(
            given["account_id"],
            given["amount"],
            kind=given["kind"],
            reason=given["reason"],
            expires_at=given["expires_at"],
            reference=given["reason"],
            lot_id=given["lot_id"],
            now=now(),
            actor=actor_of(request),
        )


@admin.register(LotDraw)
class LotDrawAdmin(ReadOnlyAdmin):
    list_display = ("id", "lot", "kind", usd_column("amount_nano", _("amount (USD)")), "transaction_id", "created_at")
    list_filter = ("kind",)
    list_select_related = ("lot",)
    search_fields = ("=lot__id", "=transaction_id")
    search_help_text = _("A whole id of a lot, or the number of a transaction.")
    ordering = ("-id",)


_CODE = (
    *("code", "audience", "app_id", "developer_id", "max_redemptions", "valid_from", "valid_until"),
    *("credit_days", "note"),
)


class PromoCodeForm(forms.ModelForm):
    amount = UsdField(label=_("Amount (USD)"))

    class Meta:
        model = PromoCode
        fields = _CODE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "valid_from" in self.fields:
            self.fields["valid_from"].required = False
            self.fields["valid_from"].help_text = _("Empty: from now on.")


@admin.register(PromoCode)
class PromoCodeAdmin(ServiceAdmin):
    form = PromoCodeForm
    list_display = (
        *("code", usd_column("amount_nano", _("amount (USD)")), "audience", "app_id", "developer_id", "redemptions"),
        *("max_redemptions", "valid_from", "valid_until"),
    )
    list_filter = ("audience",)
    search_fields = ("=id", "=code", "=app_id", "=developer_id")
    search_help_text = _("A whole code, or the id of it, of an app or of a developer.")
    ordering = ("-id",)
    actions = ("end",)

    def get_fields(self, request: HttpRequest, obj: PromoCode | None = None) -> Any:
        if obj is None:
            return ("amount", *_CODE)
        shown = usd_column("amount_nano", _("amount (USD)"))
        return ("id", shown, *_CODE, "redemptions", "created_at", "created_by")

    def get_readonly_fields(self, request: HttpRequest, obj: PromoCode | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: PromoCode | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PromoCode, form: forms.ModelForm, change: bool) -> None:
        given = dict(form.cleaned_data)
        obj.pk = create_promo_code(given.pop("code"), **given, now=now(), actor=actor_of(request))

    @admin.action(description=_("End: refuse it from now on"), permissions=["operate"])
    def end(self, request: HttpRequest, rows: QuerySet[PromoCode]) -> None:
        self.run(
            request, rows, lambda row: end_promo_code(row.pk, now=now(), actor=actor_of(request)), gettext("ended")
        )


@admin.register(PromoRedemption)
class PromoRedemptionAdmin(ReadOnlyAdmin):
    list_display = ("id", "promo_code", "account_id", "lot_id", "created_at")
    list_select_related = ("promo_code",)
    search_fields = ("=promo_code__code", "=account_id", "=lot_id")
    search_help_text = _("A whole code, the number of a wallet, or the id of a lot.")
    ordering = ("-id",)


class AllowanceForm(forms.ModelForm):
    monthly = UsdField(label=_("A month and end user (USD)"))

    class Meta:
        model = AppAllowance
        fields = ("app_id",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["monthly"].initial = self.instance.monthly_nano or 0


@admin.register(AppAllowance)
class AppAllowanceAdmin(ServiceAdmin):
    """What end users of an app have included; its allowance account, which the developer funds, pays."""

    form = AllowanceForm
    list_display = ("app_id", usd_column("monthly_nano", _("a month (USD)")), "changed_at", "changed_by")
    search_fields = ("=app_id",)
    search_help_text = _("A whole id of an app.")
    ordering = ("app_id",)

    def get_fields(self, request: HttpRequest, obj: AppAllowance | None = None) -> Any:
        return ("app_id", "monthly") if obj is None else ("app_id", "monthly", "changed_at", "changed_by")

    def get_readonly_fields(self, request: HttpRequest, obj: AppAllowance | None = None) -> Any:
        return () if obj is None else ("app_id", "changed_at", "changed_by")

    def save_model(self, request: HttpRequest, obj: AppAllowance, form: forms.ModelForm, change: bool) -> None:
        monthly = form.cleaned_data["monthly"]
        set_monthly_allowance(obj.app_id, monthly, now=now(), actor=actor_of(request))


_LIMITS = ("max_balance", "daily_spend", "low_balance")


class WalletLimitForm(forms.ModelForm):
    max_balance = OptionalUsdField(label=_("Maximum balance"), help_text=_("USD; empty: as the settings say."))
    daily_spend = OptionalUsdField(
        label=_("Spend a day"),
        help_text=_("USD, by a hard budget: of an end user's calls; of a developer, of all calls of its apps."),
    )
    low_balance = OptionalUsdField(
        label=_("Low balance"), help_text=_("USD below which the owner is told; empty: as the settings say; 0: never.")
    )

    class Meta:
        model = WalletLimit
        fields = ("account_id",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in _LIMITS:
            self.fields[name].initial = getattr(self.instance, f"{name}_nano")


@admin.register(WalletLimit)
class WalletLimitAdmin(ServiceAdmin):
    form = WalletLimitForm
    list_display = (
        "account_id",
        usd_column("max_balance_nano", _("maximum balance (USD)")),
        usd_column("daily_spend_nano", _("daily spend (USD)")),
        usd_column("low_balance_nano", _("low balance (USD)")),
        "changed_at",
        "changed_by",
    )
    search_fields = ("=account_id",)
    search_help_text = _("The number of a wallet.")
    ordering = ("account_id",)

    def get_fields(self, request: HttpRequest, obj: WalletLimit | None = None) -> Any:
        return ("account_id", *_LIMITS) if obj is None else ("account_id", *_LIMITS, "changed_at", "changed_by")

    def get_readonly_fields(self, request: HttpRequest, obj: WalletLimit | None = None) -> Any:
        return () if obj is None else ("account_id", "changed_at", "changed_by")

    def save_model(self, request: HttpRequest, obj: WalletLimit, form: forms.ModelForm, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in _LIMITS}
        set_wallet_limit(obj.account_id, **values, now=now(), actor=actor_of(request))


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ("id", "account_id", "kind", "period_key", "created_at")
    list_filter = ("kind",)
    search_fields = ("=account_id", "=period_key")
    search_help_text = _("The number of a wallet, or what the notice is about.")
    ordering = ("-id",)
