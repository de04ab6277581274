"""The ledger for operators: found by owner, request or key, never edited. Money is corrected by new transactions."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, actor_of, id_column
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import MAX_NANO, NANO_PER_USD, nano_from_usd, usd
from apps.ledger.models import Hold, LedgerAccount, LedgerEntry, LedgerTransaction, Wallet
from apps.ledger.services.accounts import freeze_wallet, set_overdraft, unfreeze_wallet
from apps.ledger.services.transfers import adjust, reverse

_MAX_USD = Decimal(MAX_NANO) / NANO_PER_USD


class LookupAdmin(ReadOnlyAdmin):
    """Search that takes a whole id, owner, request or key, one index at a time: these tables grow without end."""

    search_help_text = _("The whole owner id, request id, idempotency key or row number.")

    def lookups(self, term: str) -> Iterator[Q]:
        """Yield what to filter by; the first that finds a row wins."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        for lookup in self.lookups(term):
            found = queryset.filter(lookup)
            if found.exists():
                return found, False
        return queryset.none(), False


def _number(term: str, column: str = "pk") -> Iterator[Q]:
    if term.isascii() and term.isdecimal() and int(term) < 2**63:
        yield Q(**{column: int(term)})


def _transactions(term: str, prefix: str = "") -> Iterator[Q]:
    yield Q(**{f"{prefix}idempotency_key": term})
    of_request = LedgerTransaction.objects.alias(of=KeyTextTransform("request_id", "memo")).filter(of=term)
    yield Q(**{f"{prefix}pk__in": of_request.values("pk")})


@admin.register(LedgerAccount)
class LedgerAccountAdmin(LookupAdmin):
    list_display = ("id", "kind", "owner_id", "currency", "created_at")
    list_filter = ("kind",)
    search_fields = ("owner_id",)

    def lookups(self, term: str) -> Iterator[Q]:
        yield Q(owner_id=term)
        yield from _number(term)


class WalletForm(forms.ModelForm):
    """What an operator may do to a balance: set the overdraft, and correct it by an adjustment with a reason."""

    overdraft_usd = forms.DecimalField(label=_("Overdraft (USD)"), min_value=0, max_value=_MAX_USD, decimal_places=9)
    adjustment_usd = forms.DecimalField(
        label=_("Adjustment (USD)"),
        required=False,
        min_value=-_MAX_USD,
        max_value=_MAX_USD,
        decimal_places=9,
        help_text=_("Posts a transaction: positive credits the owner, negative debits, below zero if need be."),
    )
    reason = forms.CharField(label=_("Reason of the adjustment"), required=False, max_length=500)
    # Made with the form, so that a form sent twice posts once.
    adjustment_key = forms.CharField(widget=forms.HiddenInput)

    class Meta:
        model = Wallet
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["overdraft_usd"].initial = usd(self.instance.overdraft)
        self.fields["adjustment_key"].initial = new_id("adj")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if cleaned.get("adjustment_usd") and not cleaned.get("reason", "").strip():
            self.add_error("reason", _("Say why."))
        return cleaned


@admin.register(Wallet)
class WalletAdmin(LookupAdmin):
    form = WalletForm
    list_display = (
        id_column("account_id", _("account")),
        "kind",
        "owner",
        "posted_usd",
        "held_usd",
        "available_usd",
        "frozen_at",
    )
    list_filter = ("account__kind", ("frozen_at", admin.EmptyFieldListFilter))
    list_select_related = ("account",)
    search_fields = ("account__owner_id",)
    readonly_fields = ("account", "posted_usd", "held_usd", "available_usd", "frozen_at")
    fields = (*readonly_fields, "overdraft_usd", "adjustment_usd", "reason", "adjustment_key")
    actions = ("freeze", "unfreeze")

    def has_change_permission(self, request: HttpRequest, obj: Wallet | None = None) -> bool:
        return self.has_operate_permission(request)

    def lookups(self, term: str) -> Iterator[Q]:
        yield Q(account__owner_id=term)
        yield from _number(term)

    def save_model(self, request: HttpRequest, obj: Wallet, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        set_overdraft(obj.pk, nano_from_usd(given["overdraft_usd"]), now=now(), actor=actor_of(request))
        if given["adjustment_usd"]:
            adjust(
                obj.pk,
                nano_from_usd(given["adjustment_usd"]),
                reason=given["reason"],
                idempotency_key=f"adjustment:{given['adjustment_key']}",
                now=now(),
                actor=actor_of(request),
            )

    @admin.action(description=_("Freeze: refuse new holds and transfers"), permissions=["operate"])
    def freeze(self, request: HttpRequest, rows: QuerySet[Wallet]) -> None:
        self.run(
            request, rows, lambda row: freeze_wallet(row.pk, now=now(), actor=actor_of(request)), gettext("frozen")
        )

    @admin.action(description=_("Unfreeze"), permissions=["operate"])
    def unfreeze(self, request: HttpRequest, rows: QuerySet[Wallet]) -> None:
        self.run(
            request, rows, lambda row: unfreeze_wallet(row.pk, now=now(), actor=actor_of(request)), gettext("unfrozen")
        )

    @admin.display(description=_("kind"), ordering="account__kind")
    def kind(self, row: Wallet) -> str:
        return row.account.get_kind_display()

    @admin.display(description=_("owner"), ordering="account__owner_id")
    def owner(self, row: Wallet) -> str:
        return row.account.owner_id

    @admin.display(description=_("posted (USD)"), ordering="posted")
    def posted_usd(self, row: Wallet) -> str:
        return usd(row.posted)

    @admin.display(description=_("held (USD)"), ordering="held")
    def held_usd(self, row: Wallet) -> str:
        return usd(row.held)

    @admin.display(description=_("available (USD)"))
    def available_usd(self, row: Wallet) -> str:
        return usd(row.posted - row.held + row.overdraft)


class EntryInline(admin.TabularInline):
    model = LedgerEntry
    fields = readonly_fields = ("id", "account", "amount_usd")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerEntry]:
        return super().get_queryset(request).select_related("account").order_by("id")

    @admin.display(description=_("amount (USD)"))
    def amount_usd(self, row: LedgerEntry) -> str:
        return usd(row.amount)


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(LookupAdmin):
    list_display = ("id", "kind", "idempotency_key", "reverses", "actor", "effective_at", "created_at")
    list_filter = ("kind",)
    list_select_related = ("reverses",)
    search_fields = ("idempotency_key",)
    ordering = ("-id",)
    inlines = (EntryInline,)
    actions = ("reverse",)

    def lookups(self, term: str) -> Iterator[Q]:
        yield from _transactions(term)
        yield from _number(term)
        yield Q(pk__in=LedgerEntry.objects.filter(account__owner_id=term).values("transaction"))

    @admin.action(description=_("Reverse: post the mirror image, once"), permissions=["operate"])
    def reverse(self, request: HttpRequest, rows: QuerySet[LedgerTransaction]) -> None:
        self.run(
            request,
            rows,
            lambda row: reverse(row.pk, cause="operator", now=now(), actor=actor_of(request)),
            gettext("reversed"),
        )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LookupAdmin):
    list_display = ("id", "transaction", "account", "amount_usd", "effective_at")
    list_filter = ("account__kind", "transaction__kind")
    list_select_related = ("transaction", "account")
    search_fields = ("transaction__idempotency_key", "account__owner_id")
    ordering = ("-id",)

    def lookups(self, term: str) -> Iterator[Q]:
        yield Q(account__owner_id=term)
        yield from _transactions(term, "transaction__")
        yield from _number(term)

    @admin.display(description=_("amount (USD)"), ordering="amount")
    def amount_usd(self, row: LedgerEntry) -> str:
        return usd(row.amount)

    @admin.display(description=_("effective at"), ordering="transaction__effective_at")
    def effective_at(self, row: LedgerEntry) -> Any:
        return row.transaction.effective_at


@admin.register(Hold)
class HoldAdmin(LookupAdmin):
    list_display = (
        "request_id",
        "account",
        "amount_usd",
        "captured_usd",
        "state",
        "stage",
        "expires_at",
        "created_at",
        "resolved_at",
    )
    list_filter = ("state", "stage")
    list_select_related = ("account",)
    search_fields = ("request_id", "account__owner_id")
    ordering = ("-id",)

    def lookups(self, term: str) -> Iterator[Q]:
        yield Q(request_id=term)
        yield Q(account__owner_id=term)
        yield from _number(term)

    @admin.display(description=_("amount (USD)"), ordering="amount")
    def amount_usd(self, row: Hold) -> str:
        return usd(row.amount)

    @admin.display(description=_("captured (USD)"), ordering="captured")
    def captured_usd(self, row: Hold) -> str:
        return usd(row.captured)
