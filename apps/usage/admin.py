"""Usage for operators: found by request, app, developer or end user, followed into the ledger, never edited."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from apps.catalog.queries import provider_ids
from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of, usd_column
from apps.core.clock import now
from apps.core.money import usd
from apps.features.queries import app_by_public_id, end_user_of_session
from apps.usage import admin_similar
from apps.usage.budgets import admin as budgets_admin
from apps.usage.models import IdempotencyRecord, LimitRule, LocalReport, UsageCharge, UsageDay, UsageEvent, UserDay
from apps.usage.prompts import admin as prompts_admin
from apps.usage.services import limits

__all__ = ["admin_similar", "budgets_admin", "prompts_admin"]  # imported to register their tables

# What each kind of id is a column of. The index of that column finds the rows: these tables grow without end.
_COLUMNS = {"req_": "request_id", "app_": "app_id", "dev_": "developer_id", "usr_": "end_user_id"}
_CHARGED = (
    *("price_usd", "cost_usd", "infra_usd", "payment_usd"),
    *("developer_usd", "platform_usd", "loss_usd", "provider_bill_usd"),
)
_LIMITS = ("rpm", "tpm", "concurrency", "enabled")


class WholeIdAdmin(ReadOnlyAdmin):
    """Search that takes one whole id; its prefix says what it is of."""

    search_help_text = _("A whole request, app (also its public id), developer, end user, session or virtual key id.")
    # Where the columns of an event are, seen from the table, and which of them there are.
    event = ""
    columns = _COLUMNS

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("app_pub_"):
            app = app_by_public_id(term)
            term = app.id if app is not None else ""
        if term.startswith(("sess_", "key_")) and self.columns is _COLUMNS:
            # By the index of end users for a session, by that of keys for a key.
            owner = end_user_of_session(term) if term.startswith("sess_") else None
            found = {f"{self.event}principal_id": term, f"{self.event}end_user_id": owner}
            return queryset.filter(**found), False
        column = self.columns.get(term[:4])
        return queryset.filter(**{f"{self.event}{column}": term}) if column else queryset.none(), False


class ProviderFilter(admin.SimpleListFilter):
    """Providers by the catalogue: asking the events for theirs would read them all."""

    title = _("provider")
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(provider, provider) for provider in provider_ids()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageEvent]) -> QuerySet[UsageEvent]:
        value = self.value()
        return queryset.filter(provider=value) if value else queryset


class RatingFilter(admin.SimpleListFilter):
    title = _("rating")
    parameter_name = "rating"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("rated", _("rated")), ("unrated", _("waiting")), ("set_aside", _("set aside"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageEvent]) -> QuerySet[UsageEvent]:
        conditions = {
            "rated": Q(rated_at__isnull=False),
            "unrated": Q(rated_at=None, rating_error=None),
            "set_aside": Q(rating_error__isnull=False),
        }
        value = self.value()
        return queryset.filter(conditions[value]) if value in conditions else queryset


@admin.register(UsageEvent)
class UsageEventAdmin(WholeIdAdmin):
    list_display = (
        *("request_id", "effective_at", "price_usd", "cost_usd", "outcome", "status", "served_model", "provider"),
        *("rated", "ledger_transaction", "hold", "estimated", "policy", "degraded", "cache", "app_id", "end_user_id"),
    )
    list_filter = ("outcome", "estimated", "degraded", "cache", RatingFilter, ProviderFilter, "stream")
    list_select_related = ("charge",)
    search_fields = ("request_id", "app_id", "developer_id", "end_user_id")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageEvent]:
        return super().get_queryset(request).select_related("charge")

    def get_fields(self, request: HttpRequest, obj: UsageEvent | None = None) -> Any:
        columns = [field.name for field in UsageEvent._meta.concrete_fields]
        shown = ("app_id", "developer_id", "end_user_id", "price_nano", "cost_nano", "provider_bill_nano")
        links = ("charge_link", "ledger_transaction", "hold", "budgets", "app", "end_user", "developer")
        return [*links, "price_usd", "cost_usd", "provider_bill_usd", *(name for name in columns if name not in shown)]

    @admin.display(description=_("app"))
    def app(self, row: UsageEvent) -> str:
        return _link("features_app_change", row.app_id, row.app_id)

    @admin.display(description=_("end user"))
    def end_user(self, row: UsageEvent) -> str:
        return _link("features_enduser_change", row.end_user_id, row.end_user_id) if row.end_user_id else "–"

    @admin.display(description=_("developer"))
    def developer(self, row: UsageEvent) -> str:
        return _link("developers_developer_change", row.developer_id, row.developer_id)

    @admin.display(description=_("price (USD)"), ordering="price_nano")
    def price_usd(self, row: UsageEvent) -> str:
        return usd(row.price_nano)

    @admin.display(description=_("cost (USD)"), ordering="cost_nano")
    def cost_usd(self, row: UsageEvent) -> str:
        return usd(row.cost_nano)

    @admin.display(description=_("provider's bill (USD)"))
    def provider_bill_usd(self, row: UsageEvent) -> str:
        return usd(row.provider_bill_nano)

    @admin.display(description=_("budgets"))
    def budgets(self, row: UsageEvent) -> str:
        address = reverse("admin:usage_budgetuse_changelist", query={"q": row.request_id})
        return format_html('<a href="{}">{}</a>', address, _("budgets"))

    @admin.display(description=_("rated"), boolean=True)
    def rated(self, row: UsageEvent) -> bool | None:
        return False if row.rating_error else True if row.rated_at else None

    @admin.display(description=_("charge"))
    def charge_link(self, row: UsageEvent) -> str:
        charge = _charge_of(row)
        return _link("usage_usagecharge_change", str(charge), charge.pk) if charge is not None else "–"

    @admin.display(description=_("ledger transaction"))
    def ledger_transaction(self, row: UsageEvent) -> str:
        return _transaction_link(_charge_of(row))

    @admin.display(description=_("hold"))
    def hold(self, row: UsageEvent) -> str:
        return _hold_link(row.request_id)


@admin.register(UsageCharge)
class UsageChargeAdmin(WholeIdAdmin):
    event = "event__"
    list_display = (
        "event_link",
        "price_usd",
        "cost_usd",
        "developer_usd",
        "platform_usd",
        "loss_usd",
        "ledger_transaction",
        "created_at",
    )
    list_select_related = ("event",)
    search_fields = ("event__request_id",)
    ordering = ("-event_id",)

    def get_fields(self, request: HttpRequest, obj: UsageCharge | None = None) -> Any:
        return ["event_link", "ledger_transaction", "hold", *_CHARGED, "created_at"]

    @admin.display(description=_("infrastructure (USD)"))
    def infra_usd(self, row: UsageCharge) -> str:
        return usd(row.infra_nano)

    @admin.display(description=_("payment (USD)"))
    def payment_usd(self, row: UsageCharge) -> str:
        return usd(row.payment_nano)

    @admin.display(description=_("provider's bill (USD)"))
    def provider_bill_usd(self, row: UsageCharge) -> str:
        return usd(row.provider_bill_nano)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageCharge]:
        return super().get_queryset(request).select_related("event")

    @admin.display(description=_("usage event"), ordering="event_id")
    def event_link(self, row: UsageCharge) -> str:
        return _link("usage_usageevent_change", row.event.request_id, row.event_id)

    @admin.display(description=_("price (USD)"), ordering="price_nano")
    def price_usd(self, row: UsageCharge) -> str:
        return usd(row.price_nano)

    @admin.display(description=_("cost (USD)"), ordering="cost_nano")
    def cost_usd(self, row: UsageCharge) -> str:
        return usd(row.cost_nano)

    @admin.display(description=_("developer (USD)"), ordering="developer_nano")
    def developer_usd(self, row: UsageCharge) -> str:
        return usd(row.developer_nano)

    @admin.display(description=_("platform (USD)"), ordering="platform_nano")
    def platform_usd(self, row: UsageCharge) -> str:
        return usd(row.platform_nano)

    @admin.display(description=_("loss (USD)"), ordering="loss_nano")
    def loss_usd(self, row: UsageCharge) -> str:
        return usd(row.loss_nano)

    @admin.display(description=_("ledger transaction"))
    def ledger_transaction(self, row: UsageCharge) -> str:
        return _transaction_link(row)

    @admin.display(description=_("hold"))
    def hold(self, row: UsageCharge) -> str:
        return _hold_link(row.event.request_id)


@admin.register(LocalReport)
class LocalReportAdmin(ReadOnlyAdmin):
    """Reports of calls that end users' own machines served: which event each became."""

    list_display = ("report_id", "request_id", "end_user_id", "created_at")
    search_fields = ("=report_id", "=request_id", "=end_user_id")
    search_help_text = _("A whole id of a report, request or end user.")
    ordering = ("-id",)


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    """The stored answers are ciphertext and are not even read: only how long they are."""

    list_display = ("request_id", "scope", "status", "kept_bytes", "done_at", "lease_until", "expires_at", "created_at")
    list_filter = (("done_at", admin.EmptyFieldListFilter), "status")
    search_fields = ("=request_id", "=scope")
    search_help_text = _("A whole request, end user or virtual key id.")
    ordering = ("-id",)
    fields = ("request_id", "scope", "status", "kept_bytes", "done_at", "lease_until", "expires_at", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        unread = super().get_queryset(request).defer("body", "headers", "key_hash", "body_hash")
        records: QuerySet[Any] = unread.annotate(kept=Length("body"))
        return records

    @admin.display(description=_("bytes kept"))
    def kept_bytes(self, row: Any) -> int:
        return row.kept or 0


@admin.register(LimitRule)
class LimitRuleAdmin(ServiceAdmin):
    list_display = ("scope", "scope_id", "rpm", "tpm", "concurrency", "enabled", "changed_at", "changed_by")
    list_display_links = ("scope", "scope_id")
    list_filter = ("scope", "enabled")
    search_fields = ("=id", "scope_id")
    ordering = ("scope", "scope_id")
    actions = ("delete_rules",)

    def get_fields(self, request: HttpRequest, obj: LimitRule | None = None) -> tuple[str, ...]:
        written = ("id", "created_at", "created_by", "changed_at", "changed_by") if obj is not None else ()
        return ("scope", "scope_id", *_LIMITS, *written)

    def get_readonly_fields(self, request: HttpRequest, obj: LimitRule | None = None) -> tuple[str, ...]:
        return (
            () if obj is None else ("id", "scope", "scope_id", "created_at", "created_by", "changed_at", "changed_by")
        )

    def save_model(self, request: HttpRequest, obj: LimitRule, form: Any, change: bool) -> None:
        given = form.cleaned_data
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        asked = {name: given[name] for name in _LIMITS}
        if change:
            limits.update_limit_rule(obj.id, **asked, **who)
        else:
            obj.id = limits.create_limit_rule(scope=given["scope"], scope_id=given["scope_id"], **asked, **who)

    @admin.action(description=_("Delete: the scope's default applies again"), permissions=["operate"])
    def delete_rules(self, request: HttpRequest, rows: QuerySet[LimitRule]) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}
        self.run(request, rows, lambda row: limits.delete_limit_rule(row.id, **who), "deleted")


def _charge_of(event: UsageEvent) -> UsageCharge | None:
    try:
        return event.charge
    except UsageCharge.DoesNotExist:
        return None


def _transaction_link(charge: UsageCharge | None) -> str:
    if charge is None or charge.transaction_id is None:
        return "–"
    return _link("ledger_ledgertransaction_change", str(charge.transaction_id), charge.transaction_id)


def _hold_link(request_id: str) -> str:
    address = reverse("admin:ledger_hold_changelist", query={"q": request_id})
    return format_html('<a href="{}">{}</a>', address, _("hold"))


def _link(view: str, text: str, pk: int | str) -> str:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{view}", args=[pk]), text)


@admin.register(UsageDay)
class UsageDayAdmin(WholeIdAdmin):
    list_display = (
        *("day", "app_id", "feature_key", "route_mode", "provider", "served_model", "calls", "failed"),
        *(usd_column("price_nano", _("price, USD")), usd_column("cost_nano", _("cost, USD"))),
        usd_column("developer_nano", _("developer's share, USD")),
    )
    list_filter = ("route_mode", "provider")
    date_hierarchy = "day"
    columns = {"app_": "app_id", "dev_": "developer_id"}
    search_help_text = _("A whole app id (also its public id) or developer id.")
    search_fields = ("app_id",)
    ordering = ("-day", "id")


@admin.register(UserDay)
class UserDayAdmin(WholeIdAdmin):
    list_display = (
        *("day", "end_user_id", "app_id", "calls", "tokens"),
        *(usd_column("price_nano", _("price, USD")), usd_column("developer_nano", _("developer's share, USD"))),
    )
    date_hierarchy = "day"
    columns = {"app_": "app_id", "dev_": "developer_id", "usr_": "end_user_id"}
    search_help_text = _("A whole app id (also its public id), developer id or end user id.")
    search_fields = ("end_user_id",)
    ordering = ("-day", "id")
