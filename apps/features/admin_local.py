"""What end users have on machines of their own, for operators to look at and to cut off."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, actor_of
from apps.core.clock import now
from apps.features import services
from apps.features.models import Bridge, BridgeConnection, LocalEndpoint


@admin.register(Bridge)
class BridgeAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "app", "end_user", "created_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("app", "end_user")
    search_fields = ("id__exact", "end_user__id__exact", "app__id__exact", "app__public_id__exact")
    search_help_text = _("Id of the bridge, end user or app, whole.")
    exclude = ("token_hash",)
    ordering = ("-id",)
    actions = ("revoke",)

    @admin.action(description=_("Revoke"), permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[Bridge]) -> None:
        moment, actor = now(), actor_of(request)
        self.run(
            request, rows, lambda row: services.revoke_bridge(bridge_id=row.id, now=moment, actor=actor), "revoked"
        )


@admin.register(BridgeConnection)
class BridgeConnectionAdmin(ReadOnlyAdmin):
    list_display = ("connection_id", "bridge", "version", "connected_at", "seen_at", "closed_at")
    list_filter = (("closed_at", admin.EmptyFieldListFilter), "version")
    list_select_related = ("bridge",)
    search_fields = ("connection_id__exact", "bridge__id__exact", "bridge__end_user__id__exact")
    search_help_text = _("Id of the connection, bridge or end user, whole.")
    ordering = ("-seen_at",)


@admin.register(LocalEndpoint)
class LocalEndpointAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "kind", "base_url", "app", "end_user", "bridge", "created_at")
    list_filter = ("kind", "created_at")
    list_select_related = ("app", "end_user", "bridge")
    search_fields = ("id__exact", "end_user__id__exact", "app__id__exact", "bridge__id__exact")
    search_help_text = _("Id of the endpoint, end user, app or bridge, whole.")
    ordering = ("-id",)
