"""Who may do what on every page of the admin: an operator, staff without a permission, a developer, a visitor."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.usage.models import UsageEvent
from tests.doors.addresses import Address, addresses, changed, fingerprint, status_of
from tests.doors.furnished import Site, furnish

pytestmark = pytest.mark.django_db(transaction=True)
ADMIN = addresses("admin/")
TABLES = {f"{model._meta.app_label}_{model._meta.model_name}": model for model in admin.site._registry}
PAGES_OF_A_TABLE = ("changelist", "add", "history", "delete", "change")
# The site's own pages, and who of the staff sees them: whoever is staff, or whoever has the permission.
FOR_STAFF = {"index", "find", "switches", "queues", "password_change", "password_change_done", "jsi18n"}
BY_PERMISSION = {
    *("request", "found", "switch", "switch-payouts", "app_list", "autocomplete", "view_on_site"),
    *("auth_user_password_change", "billing_exports", "billing_reconcile", "billing_providerinvoice_decide"),
    "catalog_priceproposal_review",
}
FOR_ANYBODY = {"login", "logout"}
# What a plain visit cannot show: they take a query, or a row of a table that is empty here.
TAKE_MORE = {"autocomplete", "view_on_site", "billing_providerinvoice_decide"}
ONLY_SENT_TO = {"billing_reconcile"}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def site(transactional_db: None) -> Site:
    return furnish()


@pytest.fixture
def clerk(transactional_db: None) -> Client:
    """Give a browser of somebody who is staff and has no permission."""
    client = Client()
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    return client


def table_of(name: str) -> tuple[Any, str]:
    """Return the table and the page that a name is of; (None, name) for pages of no table."""
    label, _, page = name.rpartition("_")
    return (TABLES[label], page) if label in TABLES and page in PAGES_OF_A_TABLE else (None, name)


def url_of(site: Site, address: Address) -> str | None:
    """Return the address of a page with a row of its table; None where there is none to show."""
    name = address.name.removeprefix("admin:")
    model, _ = table_of(name)
    event = UsageEvent.objects.latest("id")
    kwargs: dict[str, Any] = {
        "request_id": event.request_id,
        "table": "features.app",
        "pk": site.house.app_id,
        "kind": "app",
        "app_label": "features",
        "content_type_id": "1",
        "id": str(User.objects.order_by("pk")[0].pk),
    }
    if model is None and name in ("billing_providerinvoice_decide", "view_on_site"):
        kwargs["object_id"] = "1"
    elif "object_id" in address.parameters:
        row = model.objects.order_by("pk").first()
        if row is None:
            return None
        kwargs["object_id"] = row.pk
    return reverse(f"admin:{name}", kwargs={key: kwargs[key] for key in address.parameters})


def named() -> list[Address]:
    return [each for each in ADMIN if each.name and each.name.removeprefix("admin:") not in FOR_ANYBODY]


def test_every_address_is_classified() -> None:
    own = {name for each in named() if table_of(name := each.name.removeprefix("admin:"))[0] is None}
    assert own == FOR_STAFF | BY_PERMISSION
    assert {each.pattern.split("/")[1] for each in ADMIN if not each.name} == {
        *(label for label in {model._meta.app_label for model in TABLES.values()}),
        "(?P<url>.*)$",
    }


def test_superuser_sees_every_page(site: Site, admin_client: Client) -> None:
    wrong, seen = [], 0
    for each in named():
        name = each.name.removeprefix("admin:")
        model, page = table_of(name)
        url = url_of(site, each)
        if name in TAKE_MORE or url is None:
            continue
        expected = 403 if name in ONLY_SENT_TO else 200
        if page in ("add", "delete"):
            request = admin_client.get(reverse("admin:index")).wsgi_request
            asked = admin.site._registry[model]
            may = asked.has_add_permission(request) if page == "add" else asked.has_delete_permission(request)
            expected = 200 if may else 403
        found = status_of(admin_client.get(url, follow=name == "find"))
        seen += 1
        if found != expected:
            wrong.append((name, found, expected))
    assert not wrong, "\n".join(map(str, wrong))
    assert seen > 250


def test_clerk_sees_and_changes_nothing(site: Site, clerk: Client) -> None:
    before, wrong = fingerprint(), []
    for each in named():
        name, url = each.name.removeprefix("admin:"), url_of(site, each)
        if url is None:
            continue
        seen, sent = status_of(clerk.get(url)), status_of(clerk.post(url, {}))
        if name in FOR_STAFF:
            right = seen == 200
        elif name in ("app_list", "view_on_site"):  # of nothing that they may see
            right = (seen, sent) == (404, 404)
        else:
            right = seen == 403 and sent in (403, 405)
        if not right:
            wrong.append((name, seen, sent))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []


@pytest.mark.parametrize("who", ["developer", "visitor"])
def test_whoever_is_not_staff_is_asked_to_sign_in(site: Site, who: str) -> None:
    client = site.house.owner if who == "developer" else Client()
    before, wrong = fingerprint(), []
    for each in named():
        url = url_of(site, each)
        if url is None:
            continue
        for sent in (client.get(url), client.post(url, {})):
            if sent.status_code != 302 or not sent["location"].startswith("/admin/login/"):
                wrong.append((each.name, sent.status_code))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []
