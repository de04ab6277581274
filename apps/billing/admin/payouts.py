"""Payouts for operators: a list with sums, and one page a payout with all that a decision needs."""

import csv
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.admin.payout_page import page_of, shown
from apps.billing.models.payouts import (
    Payout,
    PayoutAccount,
    PayoutDetails,
    PayoutOrigin,
    PayoutReview,
    PayoutSkip,
    PayoutStatus,
    PayoutStop,
)
from apps.billing.queries.payout_review import review_of
from apps.billing.services import payout_accounts, payout_reviews, payouts
from apps.billing.services.bank_file import bank_file
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, UsdField, actor_of, usd_column
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.developers.queries import developer_names

_DONE = {
    "approve": _("Your approval is recorded."),
    "reject": _("The payout is rejected."),
    "hold": _("The payout is held."),
    "release": _("The payout is released; it needs its approvals anew."),
    "mark_paid": _("The payout is marked as paid."),
    "mark_failed": _("The payout is marked as failed; the developer has its balance again."),
}
_DECIDE: dict[str, Callable[..., Any]] = {name: getattr(payout_reviews, name) for name in _DONE}


@admin.register(Payout)
class PayoutAdmin(ServiceAdmin):
    list_display = ("developer", "amount", "state", "period", "risk", "rail", "proposed_on")
    list_filter = ("status", "rail", "origin", "created_at")
    search_fields = ("id", "developer_id", "transfer_id", "stripe_payout_id", "reference", "period")
    search_help_text = _("The id of a payout, developer or transfer, the bank's reference, or a period.")
    ordering = ("-id",)
    actions = ("export_for_bank",)
    change_list_template = "billing/admin/payout_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.review_payout")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.view_payout") or self.has_change_permission(request)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.read_payoutdetails")

    @admin.display(description=_("developer"), ordering="developer_id")
    def developer(self, row: Payout) -> str:
        return getattr(row, "developer_name", "") or row.developer_id

    @admin.display(description=_("amount (USD)"), ordering="amount_nano")
    def amount(self, row: Payout) -> str:
        return shown(row.amount_nano)

    @admin.display(description=_("status"), ordering="status")
    def state(self, row: Payout) -> str:
        return format_html('<span class="pill pill-{}">{}</span>', row.status, row.get_status_display())

    @admin.display(description=_("risk"), ordering="risk_score")
    def risk(self, row: Payout) -> str:
        return "–" if row.risk_score is None else str(row.risk_score)

    @admin.display(description=_("proposed on"), ordering="created_at")
    def proposed_on(self, row: Payout) -> str:
        return date_format(timezone.localtime(row.created_at), "SHORT_DATE_FORMAT")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, {"title": gettext("Payouts"), **(extra_context or {})})
        listed = getattr(response, "context_data", None)
        if listed and "cl" in listed:
            names = developer_names({row.developer_id for row in listed["cl"].result_list})
            for row in listed["cl"].result_list:
                row.developer_name = names.get(row.developer_id)
            sums = listed["cl"].queryset.order_by().values("status").annotate(Sum("amount_nano"), Count("id"))
            found = {row["status"]: (row["id__count"], row["amount_nano__sum"]) for row in sums}
            listed["totals"] = [
                {
                    "status": status.value,
                    "name": status.label,
                    "count": found[status][0],
                    "usd": shown(found[status][1]),
                }
                for status in PayoutStatus
                if status in found
            ]
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = unquote(object_id)
        row = self.get_object(request, key) if "\0" not in key else None
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]  # stubs
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        reason, reference = request.POST.get("reason", ""), request.POST.get("reference", "")
        if request.method == "POST":
            if not self.has_change_permission(request, row):
                raise PermissionDenied
            if self._decide(request, row, reason, reference):
                return HttpResponseRedirect(request.get_full_path())
        review = review_of(row.pk, now=now())
        assert review is not None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Payout review"),
            "subtitle": row.pk,
            "reason": reason,
            "reference": reference,
            **page_of(review, actor=actor_of(request), may_decide=self.has_change_permission(request, row)),
        }
        return TemplateResponse(request, "billing/admin/payout_review.html", context)

    def _decide(self, request: HttpRequest, row: Payout, reason: str, reference: str) -> bool:
        """Take the decision that was posted; a refusal becomes a message on the page."""
        name = request.POST.get("decision", "")
        decide = _DECIDE.get(name)
        if decide is None:
            self.message_user(request, gettext("Choose what to do."), messages.ERROR)
            return False
        if name == "approve" and request.POST.get("second") and not request.POST.get("confirmed"):
            self.message_user(request, gettext("Confirm that you have checked it yourself."), messages.ERROR)
            return False
        given: dict[str, Any] = {"reference": reference} if name == "mark_paid" else {}
        try:
            decide(row.pk, reason=reason, now=now(), actor=actor_of(request), **given)
        except FaucetError as error:
            self.message_user(request, error.message, messages.ERROR)
            return False
        self.log_change(request, row, name)
        self.message_user(request, str(_DONE[name]), messages.SUCCESS)
        return True

    @admin.action(description=_("Export for the bank: approved payouts by hand"), permissions=["export"])
    def export_for_bank(self, request: HttpRequest, rows: QuerySet[Payout]) -> HttpResponse | None:
        moment = now()
        try:
            ids = list(rows.values_list("pk", flat=True))
            found = bank_file(ids, now=moment, actor=actor_of(request))
        except FaucetError as error:
            self.message_user(request, error.message, messages.ERROR)
            return None
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["content-disposition"] = f'attachment; filename="payouts-{moment:%Y-%m-%d}.csv"'
        response["cache-control"] = "no-store, private"
        csv.writer(response).writerows(found.rows)
        return response


class PayoutAccountForm(forms.ModelForm):
    """The terms of one developer; what is left empty follows the settings."""

    minimum_nano = UsdField(
        label=_("Least payout"), required=False, initial="", help_text=_("USD; empty: PAYOUT_MINIMUM_USD.")
    )

    class Meta:
        model = PayoutAccount
        fields = ("developer_id", "trusted", "hold_days", "reserve_bps")
        help_texts = {
            "hold_days": _("Empty: PAYOUT_HOLD_DAYS, for a trusted developer PAYOUT_TRUSTED_HOLD_DAYS."),
            "reserve_bps": _("Empty: PAYOUT_RESERVE_BPS."),
        }

    def clean_minimum_nano(self) -> int | None:
        return self.cleaned_data["minimum_nano"] if self.data.get("minimum_nano", "").strip() else None


@admin.register(PayoutAccount)
class PayoutAccountAdmin(ServiceAdmin):
    form = PayoutAccountForm
    list_display = ("developer_id", "rail", "ready", "trusted", "stopped_at", "updated_at")
    list_filter = ("rail", "payouts_enabled", "trusted", ("stopped_at", admin.EmptyFieldListFilter))
    search_fields = ("developer_id", "stripe_account_id")
    told = (
        "rail",
        "country",
        "stripe_account_id",
        "payouts_enabled",
        "details_submitted",
        "requirements",
        "disabled_reason",
        "deauthorized_at",
        "synced_at",
        "details_id",
        "stopped_at",
        "stopped_reason",
        "created_at",
        "updated_at",
    )
    actions = ("stop", "resume", "propose")

    def get_fields(self, request: HttpRequest, obj: PayoutAccount | None = None) -> tuple[str, ...]:
        terms = ("developer_id", "trusted", "hold_days", "reserve_bps", "minimum_nano")
        return terms if obj is None else (*terms, *self.told)

    def get_readonly_fields(self, request: HttpRequest, obj: PayoutAccount | None = None) -> tuple[str, ...]:
        return () if obj is None else ("developer_id", *self.told)

    def save_model(self, request: HttpRequest, obj: PayoutAccount, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        payout_accounts.set_terms(
            obj.developer_id,
            trusted=given["trusted"],
            hold_days=given["hold_days"],
            reserve_bps=given["reserve_bps"],
            minimum=given["minimum_nano"],
            now=now(),
            actor=actor_of(request),
        )

    @admin.display(description=_("ready"), boolean=True)
    def ready(self, row: PayoutAccount) -> bool:
        return payouts.account_ready(row)

    @admin.action(description=_("Stop payouts at once"), permissions=["operate"])
    def stop(self, request: HttpRequest, rows: QuerySet[PayoutAccount]) -> None:
        who = actor_of(request)
        reason = gettext("stopped in the list of accounts by %(who)s") % {"who": request.user.get_username()}
        self.run(
            request,
            rows,
            lambda row: payout_accounts.stop_payouts(row.pk, reason=reason, now=now(), actor=who),
            gettext("stopped"),
        )

    @admin.action(description=_("Resume payouts"), permissions=["operate"])
    def resume(self, request: HttpRequest, rows: QuerySet[PayoutAccount]) -> None:
        self.run(
            request,
            rows,
            lambda row: payout_accounts.resume_payouts(row.pk, now=now(), actor=actor_of(request)),
            gettext("resumed"),
        )

    @admin.action(description=_("Propose a payout of what is payable"), permissions=["operate"])
    def propose(self, request: HttpRequest, rows: QuerySet[PayoutAccount]) -> None:
        def service(row: PayoutAccount) -> str:
            return payouts.propose(row.pk, origin=PayoutOrigin.OPERATOR, now=now(), actor=actor_of(request))

        self.run(request, rows, service, gettext("proposed"))


@admin.register(PayoutDetails)
class PayoutDetailsAdmin(ReadOnlyAdmin):
    """Bank details are sealed: they are read by exporting an approved payout, which is recorded."""

    list_display = ("id", "developer_id", "hint", "created_by", "created_at")
    search_fields = ("id", "developer_id")
    fields = ("id", "developer_id", "hint", "created_by", "created_at")
    ordering = ("-id",)


@admin.register(PayoutReview)
class PayoutReviewAdmin(ReadOnlyAdmin):
    list_display = ("at", "payout_link", "decision", "reviewer", "reason")
    list_filter = ("decision", "at")
    search_fields = ("id", "payout__id", "reviewer")
    list_select_related = ("payout",)
    ordering = ("-id",)

    @admin.display(description=_("payout"), ordering="payout")
    def payout_link(self, row: PayoutReview) -> str:
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:billing_payout_change", args=[row.payout_id]), row.payout_id
        )


@admin.register(PayoutSkip)
class PayoutSkipAdmin(ReadOnlyAdmin):
    list_display = ("developer_id", "period", "reason", usd_column("payable_nano", _("payable (USD)")), "at")
    list_filter = ("reason", "period")
    search_fields = ("developer_id", "period")
    ordering = ("-at",)


@admin.register(PayoutStop)
class PayoutStopAdmin(ReadOnlyAdmin):
    """Whether anything is paid out at all: switched on the page of the switches."""

    list_display = ("reason", "stopped_at", "stopped_by")
    search_fields = ("reason",)
