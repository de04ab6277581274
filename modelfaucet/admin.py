"""The operators' site: Django's admin, which in production opens only to whom a second factor let in."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_noop

# Single sign-on is set up by the environment: these tables stay empty, and their pages would ask for secrets in clear.
ELSEWHERE = {"socialaccount.SocialApp", "socialaccount.SocialToken"}
# Tables that django-allauth names in English only: the list of tables says them in the reader's language.
NAMED_HERE = (gettext_noop("Authenticators"), gettext_noop("User sessions"))


class OperatorSite(AdminSite):
    """The admin, behind the sign-in that everybody uses where ADMIN_SECOND_FACTOR is on."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        models: list[Any] = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        super().register([model for model in models if model._meta.label not in ELSEWHERE], admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and has_second_factor(request)

    def _build_app_dict(self, request: HttpRequest, label: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super()._build_app_dict(request, label)
        for app in found.values():
            for model in app["models"]:
                # A lazy name is translated again at each comparison of the sort, half of a page's time.
                name = str(model["name"])
                model["name"] = gettext(name) if name in NAMED_HERE else name
        return found

    def get_urls(self) -> list[Any]:
        from apps.console.operator import pages  # the rooms' tables are not ready before

        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(route, self.admin_view(partial(self._page, view)), name=name)

        return [
            page("find/", pages.find, "find"),
            page("requests/<str:request_id>/", pages.call, "request"),
            page("found/<str:table>/<path:pk>/", pages.row, "found"),
            page("switches/", pages.switches, "switches"),
            page("switches/all-payouts/", pages.all_payouts, "switch-payouts"),
            page("switches/<str:kind>/<path:pk>/", pages.switch, "switch"),
            page("queues/", partial(_queues, pages.queues), "queues"),
            *super().get_urls(),
        ]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from apps.billing.services.payout_stop import payouts_stopped
        from apps.console.operator.dashboard import Circuit, dashboard
        from apps.core.clock import now
        from apps.gateway.health import process_health

        circuits = [
            Circuit(reading.key[0], reading.key[1], reading.state, reading.error_rate, reading.latency)
            for reading in process_health().readings()
        ]
        found = dashboard(request, now=now(), circuits=circuits)
        stopped = payouts_stopped() if request.user.has_perm("billing.view_payoutaccount") else None
        return super().index(request, {**found, "stopped": stopped, **(extra_context or {})})

    def _page(self, view: Any, request: HttpRequest, **particulars: Any) -> HttpResponse:
        response: HttpResponse = view(request, site=self.each_context(request), **particulars)
        return response

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not settings.ADMIN_SECOND_FACTOR:
            return super().login(request, extra_context)
        if not request.user.is_authenticated:
            target = request.GET.get("next") or reverse("admin:index")
            return HttpResponseRedirect(f"{reverse(settings.LOGIN_URL)}?{urlencode({'next': target})}")
        if super().has_permission(request) and not has_second_factor(request):
            messages.warning(request, gettext("The admin asks for a second factor. Set one up, then sign in again."))
            return redirect("mfa_index")
        return super().login(request, extra_context)


class OperatorAdminConfig(AdminConfig):
    default_site = "modelfaucet.admin.OperatorSite"


def _queues(view: Any, request: HttpRequest, **particulars: Any) -> HttpResponse:
    """Call the page of the queues with the schedule: the seconds between two runs, by task."""
    from modelfaucet.celery import app

    schedule = {name: float(entry["schedule"]) for name, entry in app.conf.beat_schedule.items()}
    response: HttpResponse = view(request, schedule=schedule, **particulars)
    return response


def has_second_factor(request: HttpRequest) -> bool:
    """Tell whether this session was opened with a second factor or a passkey, or need not be."""
    if not settings.ADMIN_SECOND_FACTOR:
        return True
    from allauth.account.authentication import get_authentication_records  # its tables are not ready before

    records = get_authentication_records(request, request.user)
    return any(record.get("method") == "mfa" for record in records)
