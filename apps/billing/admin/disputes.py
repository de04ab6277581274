"""Disputes for operators: payments that banks took back, and what of the loss came back."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.admin.top_ups import ProblemFilter, cents_column
from apps.billing.models.disputes import Dispute, DisputeClawback
from apps.billing.services import disputes
from apps.core.admin_base import ReadOnlyAdmin, id_column, usd_column
from apps.core.clock import now


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Evidence is given in Stripe's dashboard, by the date shown here."""

    list_display = (
        "id",
        "top_up_id",
        "account_id",
        cents_column("amount_cents", _("disputed (USD)")),
        "reason",
        "status",
        "stripe_status",
        "evidence_due_at",
        usd_column("clawed_back_nano", _("clawed back (USD)")),
        usd_column("written_off_nano", _("written off (USD)")),
        "opened_at",
    )
    list_filter = (ProblemFilter, "status", "reason", "opened_at")
    search_fields = ("=id", "=stripe_dispute_id", "=top_up_id")
    ordering = ("-id",)
    actions = ("settle_now",)

    @admin.action(description=_("Settle now: ask Stripe how they stand"), permissions=["operate"])
    def settle_now(self, request: HttpRequest, rows: QuerySet[Dispute]) -> None:
        self.run(
            request, rows, lambda row: disputes.settle_dispute(row.stripe_dispute_id, now=now()), gettext("settled")
        )


@admin.register(DisputeClawback)
class DisputeClawbackAdmin(ReadOnlyAdmin):
    """Shares of developers that lost disputes took back, call by call."""

    list_display = (
        "request_id",
        "developer_id",
        usd_column("amount_nano", _("amount (USD)")),
        id_column("dispute_id", _("dispute")),
        "transaction_id",
        "created_at",
    )
    list_filter = ("created_at",)
    search_fields = ("=request_id", "=developer_id", "=dispute__id")
    ordering = ("-id",)
