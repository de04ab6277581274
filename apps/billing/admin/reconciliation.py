"""Reconciliation for operators: runs with their differences, resolved with a reason; providers' bills; exports."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _now_
from django.utils.translation import gettext_lazy as _

from apps.billing.admin.reconciliation_forms import ExportForm, InvoiceForm
from apps.billing.models.reconciliation import (
    BalanceTransaction,
    InvoiceState,
    ProviderInvoice,
    ProviderInvoiceLine,
    ReconciliationItem,
    ReconciliationRun,
)
from apps.billing.queries.exports import operator_export
from apps.billing.services import provider_invoices
from apps.billing.services.differences import resolve_difference
from apps.billing.services.reconciliation import reconcile_stripe
from apps.core.admin_base import ReadOnlyAdmin, actor_of, usd_column
from apps.core.clock import now
from apps.core.csv_stream import csv_response
from apps.core.errors import FaucetError
from apps.core.money import NANO_PER_CENT, usd

_ITEM_USD = (usd_column("theirs_nano", _("theirs (USD)")), usd_column("ours_nano", _("ours (USD)")))
# Differences that a run's page shows; the list of differences has all.
_SHOWN = 100


class OpenFilter(admin.SimpleListFilter):
    title = _("resolution")
    parameter_name = "resolution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("open")), ("resolved", _("resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReconciliationItem]) -> QuerySet[ReconciliationItem]:
        if self.value() not in ("open", "resolved"):
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == "open")


class ReasonForm(ActionForm):
    reason = forms.CharField(required=False, max_length=500, label=_("Reason"))


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    change_list_template = "billing/admin/reconciliation_runs.html"
    change_form_template = "billing/admin/reconciliation_run.html"
    list_display = (
        *("id", "kind", "reference", "period_begin", "period_end", "status", "balanced", "matched"),
        *("missing_here", "missing_there", "differing", "waiting", "unexplained", "started_at"),
    )
    list_filter = ("kind", "status", "started_at")
    search_fields = ("id", "reference")
    ordering = ("-started_at",)
    fields = readonly_fields = (
        *("id", "kind", "reference", "period_begin", "period_end", "status", "error", "actor"),
        *("started_at", "finished_at", "matched", "missing_here", "missing_there", "differing", "waiting"),
        usd_column("theirs_nano", _("theirs (USD)")),
        usd_column("ours_nano", _("ours (USD)")),
        usd_column("difference_nano", _("difference (USD)")),
        usd_column("explained_nano", _("of it explained (USD)")),
        "unexplained",
    )

    @admin.display(description=_("balanced"), boolean=True)
    def balanced(self, row: ReconciliationRun) -> bool | None:
        if row.finished_at is None:
            return None
        return row.difference_nano == row.explained_nano and not row.error

    @admin.display(description=_("unexplained (USD)"))
    def unexplained(self, row: ReconciliationRun) -> str:
        return usd(row.difference_nano - row.explained_nano)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rows = ReconciliationItem.objects.filter(run_id=object_id).order_by("kind", "reference")[: _SHOWN + 1]
        shown = [(row, _amount(row.theirs_nano), _amount(row.ours_nano)) for row in rows[:_SHOWN]]
        more = {"items": shown, "has_more": len(rows) > _SHOWN, "items_query": f"run__id__exact={object_id}"}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("exports/", self.admin_site.admin_view(self.exports_view), name="billing_exports"),
            path("run/", self.admin_site.admin_view(self.run_view), name="billing_reconcile"),
        ]
        return own + super().get_urls()

    def exports_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the form of exports, or stream the one that was asked for."""
        if not request.user.has_perm("billing.export_all"):
            raise PermissionDenied
        form = ExportForm(request.GET if "kind" in request.GET else None)
        if form.is_valid():
            asked = form.cleaned_data
            begin, end = form.period()
            developer_id = asked["developer_id"] or None
            export = operator_export(asked["kind"], developer_id, begin=begin, end=end)
            try:
                return csv_response(export, owner=actor_of(request), bom=asked["bom"], begin=begin, end=end)
            except FaucetError as error:
                self.message_user(request, error.message, messages.ERROR)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Exports"),
            "form": form,
        }
        return TemplateResponse(request, "billing/admin/exports.html", context)

    def run_view(self, request: HttpRequest) -> HttpResponse:
        """Reconcile with Stripe now: the days since yesterday."""
        if request.method != "POST" or not self.has_operate_permission(request):
            raise PermissionDenied
        moment = now()
        try:
            run_id = reconcile_stripe(moment.date(), moment.date(), now=moment, actor=actor_of(request))
        except FaucetError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:billing_reconciliationrun_changelist"))
        return HttpResponseRedirect(reverse("admin:billing_reconciliationrun_change", args=[run_id]))


@admin.register(ReconciliationItem)
class ReconciliationItemAdmin(ReadOnlyAdmin):
    action_form = ReasonForm
    list_display = ("reference", "kind", "source", *_ITEM_USD, "note", "developer_id", "created_at", "resolution")
    list_filter = (OpenFilter, "source", "kind", "created_at")
    list_select_related = ("run",)
    search_fields = ("id", "reference", "developer_id", "balance_transaction_id", "run__id")
    ordering = ("-created_at", "-id")
    actions = ("resolve",)
    fields = readonly_fields = (
        *("id", "run", "source", "kind", "reference", *_ITEM_USD, "balance_transaction_id", "transaction_id"),
        *("developer_id", "note", "created_at", "resolved_at", "resolved_by", "resolution"),
    )

    @admin.action(description=_("Resolve: in order, for the reason given"), permissions=["operate"])
    def resolve(self, request: HttpRequest, rows: QuerySet[ReconciliationItem]) -> None:
        reason, actor = request.POST.get("reason", ""), actor_of(request)
        self.run(
            request, rows, lambda row: resolve_difference(row.pk, reason=reason, now=now(), actor=actor), "resolved"
        )


@admin.register(BalanceTransaction)
class BalanceTransactionAdmin(ReadOnlyAdmin):
    list_display = ("id", "type", "source", "amount", "fee", "net", "state", "transaction", "created_at")
    list_filter = ("state", "type", "created_at")
    search_fields = ("id__exact", "source__exact")
    search_help_text = _("A whole id of the line or of what it came from.")
    ordering = ("-created_at", "-id")
    fields = readonly_fields = (
        *("id", "type", "category", "source", "references", "amount", "fee", "net", "description"),
        *("available_on", "created_at", "state", "transaction", "fee_transaction_id", "matched_at", "imported_at"),
    )

    @admin.display(description=_("amount (USD)"), ordering="amount_cents")
    def amount(self, row: BalanceTransaction) -> str:
        return _cents(row.amount_cents)

    @admin.display(description=_("fee (USD)"), ordering="fee_cents")
    def fee(self, row: BalanceTransaction) -> str:
        return _cents(row.fee_cents)

    @admin.display(description=_("net (USD)"), ordering="net_cents")
    def net(self, row: BalanceTransaction) -> str:
        return _cents(row.net_cents)

    @admin.display(description=_("ledger transaction"))
    def transaction(self, row: BalanceTransaction) -> str:
        if row.transaction_id is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>',
            reverse("admin:ledger_ledgertransaction_change", args=[row.transaction_id]),
            row.transaction_id,
        )


class LineInline(admin.TabularInline):
    """The first lines of a bill, as they were read."""

    model = ProviderInvoiceLine
    fields = readonly_fields = ("number", "day", "model", "tokens", usd_column("amount_nano", _("amount (USD)")))
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderInvoiceLine]:
        return super().get_queryset(request).filter(number__lte=26).order_by("number")

    def has_add_permission(self, request: HttpRequest, obj: ProviderInvoice | None = None) -> bool:
        return False


@admin.register(ProviderInvoice)
class ProviderInvoiceAdmin(ReadOnlyAdmin):
    """A file is read into a draft, which is shown; confirmed it counts, discarded it is forgotten."""

    change_form_template = "billing/admin/provider_invoice.html"
    list_display = (
        *("id", "provider", "period_begin", "period_end", usd_column("total_nano", _("total (USD)"))),
        *("line_count", "state", "file_name", "created_at", "created_by"),
    )
    list_filter = ("state", "provider", "created_at")
    search_fields = ("id", "provider", "file_name")
    ordering = ("-created_at",)
    inlines = (LineInline,)
    fields = readonly_fields = (
        *("id", "provider", "state", "period_begin", "period_end", usd_column("total_nano", _("total (USD)"))),
        *("line_count", "file_name", "file_hash", "columns", "created_at", "created_by", "decided_at", "decided_by"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_providerinvoice")

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderInvoice | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def get_form(
        self, request: HttpRequest, obj: ProviderInvoice | None = None, change: bool = False, **options: Any
    ) -> type[forms.ModelForm]:
        if obj is None:
            options |= {"form": InvoiceForm, "fields": ()}
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: ProviderInvoice | None = None) -> Any:
        return tuple(InvoiceForm.declared_fields) if obj is None else self.fields

    def get_inlines(self, request: HttpRequest, obj: ProviderInvoice | None) -> Any:
        return () if obj is None else self.inlines

    def save_model(self, request: HttpRequest, obj: ProviderInvoice, form: Any, change: bool) -> None:
        given = form.cleaned_data
        obj.id = provider_invoices.read_invoice(
            given["file"].file,
            provider=given["issuer"],
            file_name=given["file"].name,
            columns=form.columns(),
            stated_total=given["total"],
            allow_repeats=given["allow_repeats"],
            now=now(),
            actor=actor_of(request),
        )
        obj.refresh_from_db()

    def response_add(self, request: HttpRequest, obj: ProviderInvoice, post_url_continue: str | None = None) -> Any:
        message = _now_("The file was read. Nothing counts yet: look at it, then confirm or discard it.")
        self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:billing_providerinvoice_change", args=[obj.pk]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = ProviderInvoice.objects.filter(pk=object_id).first() if "\0" not in object_id else None
        overlapping = []
        if row is not None:
            others = ProviderInvoice.objects.filter(provider=row.provider, state=InvoiceState.IMPORTED).exclude(
                pk=row.pk
            )
            overlapping = list(others.filter(period_begin__lte=row.period_end, period_end__gte=row.period_begin)[:5])
        more = {
            "overlapping": overlapping,
            "state": row.state if row else "",
            "may": self.has_operate_permission(request),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        own = [path("<path:object_id>/decide/", view, name="billing_providerinvoice_decide")]
        return own + super().get_urls()

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Confirm a draft and compare it, compare it again, or discard it."""
        if request.method != "POST" or not self.has_operate_permission(request):
            raise PermissionDenied
        here = reverse("admin:billing_providerinvoice_change", args=[object_id])
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        try:
            if request.POST.get("decision") == "discard":
                provider_invoices.discard_invoice(object_id, **who)
                return HttpResponseRedirect(here)
            if request.POST.get("decision") == "confirm":
                provider_invoices.confirm_invoice(object_id, **who)
            run_id = provider_invoices.reconcile_provider(object_id, **who)
        except FaucetError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(here)
        return HttpResponseRedirect(reverse("admin:billing_reconciliationrun_change", args=[run_id]))


@admin.register(ProviderInvoiceLine)
class ProviderInvoiceLineAdmin(ReadOnlyAdmin):
    list_display = ("invoice", "number", "day", "model", "tokens", usd_column("amount_nano", _("amount (USD)")))
    list_select_related = ("invoice",)
    list_filter = ("invoice__provider",)
    search_fields = ("invoice__id__exact", "model__exact")
    ordering = ("-invoice_id", "number")


def _amount(nano: int | None) -> str:
    return "–" if nano is None else usd(nano)


def _cents(cents: int) -> str:
    return usd(cents * NANO_PER_CENT)
