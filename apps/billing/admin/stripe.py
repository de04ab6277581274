"""The inbox of Stripe's events, for operators."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.billing.models.stripe import StripeEvent
from apps.billing.services import inbox
from apps.core.admin_base import ReadOnlyAdmin, actor_of
from apps.core.clock import now

if apps.is_installed("djstripe"):
    from djstripe.models import APIKey, WebhookEndpoint

    # Keys in plain text, and endpoints for a view that is not routed here.
    for model in (APIKey, WebhookEndpoint):
        if admin.site.is_registered(model):
            admin.site.unregister(model)

HANDLED = Q(handled_at__isnull=False)
STATES = {
    "waiting": Q(handled_at=None, next_attempt_at__isnull=False, last_error=""),
    "failing": Q(handled_at=None, next_attempt_at__isnull=False) & ~Q(last_error=""),
    "given_up": Q(handled_at=None, next_attempt_at=None),
    "handled": HANDLED & Q(note=""),
    "ignored": HANDLED & Q(note=inbox.IGNORED),
    "not_mirrored": Q(mirrored_at=None) & ~Q(mirror_error=""),
}


class StateFilter(admin.SimpleListFilter):
    """How far an event has come."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("waiting", _("waiting")),
            ("failing", _("failing")),
            ("given_up", _("given up")),
            ("handled", _("handled")),
            ("ignored", _("ignored")),
            ("not_mirrored", _("not mirrored")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StripeEvent]) -> QuerySet[StripeEvent]:
        state = STATES.get(self.value() or "")
        return queryset if state is None else queryset.filter(state)


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    """Each event that Stripe told us of, and what became of it."""

    list_display = ("id", "type", "object_id", "received_at", "state", "attempts", "last_error")
    list_filter = (StateFilter, "livemode", "type", "received_at")
    search_fields = ("=id", "=object_id", "=stripe_account")
    search_help_text = gettext_lazy("The whole id of an event, an object or a connected account.")
    ordering = ("-received_at", "-id")
    actions = ("handle_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeEvent]:
        rows = super().get_queryset(request)
        match = request.resolver_match
        return rows.defer("payload") if match and str(match.url_name).endswith("_changelist") else rows

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: StripeEvent) -> str:
        if row.handled_at is not None:
            return _("ignored") if row.note == inbox.IGNORED else _("handled")
        if row.next_attempt_at is None:
            return _("given up")
        return _("failing") if row.last_error else _("waiting")

    @admin.action(description=gettext_lazy("Handle again"), permissions=["operate"])
    def handle_again(self, request: HttpRequest, rows: QuerySet[StripeEvent]) -> None:
        actor = actor_of(request)
        self.run(
            request,
            rows,
            lambda row: inbox.handle_again(row.pk, now=now(), actor=actor),
            _("to be handled again"),
        )
