from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.developers.models import AuditEvent
from apps.features import queries, services
from apps.features.models import App, AppFeature, EndUser, FeatureManifest, PricingTerms, VirtualKey, VirtualSession
from apps.features.services import TermsInput
from tests.features.factories import NOW, make_app, make_developer, make_feature, make_key, make_session

pytestmark = pytest.mark.django_db
TABLES = ["app", "appfeature", "pricingterms", "enduser", "virtualsession", "virtualkey", "featuremanifest"]
TERMS: dict[str, Any] = {
    "platform_pricing": "markup",
    "markup_bps": 0,
    "fixed_price": 0,
    "developer_pricing": "fee_only",
    "own_price": 0,
    "gateway_fee": 0,
    "byok_fee": 0,
    "local_fee": 0,
    "share_bps": 0,
}
NO_INLINES = {"features-TOTAL_FORMS": 0, "features-INITIAL_FORMS": 0}


@pytest.fixture
def furnished() -> App:
    app = make_app(allowed_origins=["https://a.example"])
    make_feature(app)
    make_session(app)
    make_key(app)
    put_manifest(app)
    return app


def put_manifest(app: App, source: str = "limits: {rpm: 5}") -> AppFeature:
    feature = AppFeature.objects.get(app=app, key="default")
    services.put_manifest(
        feature_id=feature.id, source=source, source_format="yaml", now=NOW, actor="test", may_price=True
    )
    return AppFeature.objects.get(pk=feature.pk)


def url(table: str, view: str, *args: object) -> str:
    return reverse(f"admin:features_{table}_{view}", args=args)


def act(client: Client, table: str, action: str, row: str) -> None:
    response = client.post(url(table, "changelist"), {"action": action, "_selected_action": [row]})
    assert response.status_code == 302


@pytest.mark.parametrize("table", TABLES)
def test_lists_show_one_row_or_many_with_the_same_queries(admin_client: Client, furnished: App, table: str) -> None:
    with CaptureQueriesContext(connection) as one:
        assert admin_client.get(url(table, "changelist")).status_code == 200
    for number in range(3):
        other = make_app(furnished.developer_id, name=f"App {number}")
        make_session(other)
        make_key(other)
        put_manifest(other)
    with CaptureQueriesContext(connection) as many:
        assert admin_client.get(url(table, "changelist")).status_code == 200
    assert len(many) <= len(one)


@pytest.mark.parametrize("table", TABLES)
def test_rows_and_searches_open(admin_client: Client, furnished: App, table: str) -> None:
    model = {"app": App, "appfeature": AppFeature, "pricingterms": PricingTerms}.get(table) or {
        "enduser": EndUser,
        "virtualsession": VirtualSession,
        "virtualkey": VirtualKey,
        "featuremanifest": FeatureManifest,
    }[table]
    row: Any = model._default_manager.first()
    response = admin_client.get(url(table, "change", row.pk))
    assert response.status_code == 200
    assert getattr(row, "token_hash", "no hash") not in response.text
    found = admin_client.get(url(table, "changelist"), {"q": str(row.pk)})
    assert [hit.pk for hit in found.context["cl"].result_list] == [row.pk]


@pytest.mark.parametrize("table", ["enduser", "virtualsession", "virtualkey"])
def test_rows_are_found_by_their_app(admin_client: Client, furnished: App, table: str) -> None:
    make_session(make_app(furnished.developer_id))
    for wanted in (furnished.id, furnished.public_id):
        found = admin_client.get(url(table, "changelist"), {"q": wanted})
        assert len(found.context["cl"].result_list) == 1


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_deleted(admin_client: Client, furnished: App, table: str) -> None:
    row = furnished.id if table == "app" else "1"
    assert admin_client.post(url(table, "delete", row), {"post": "yes"}).status_code in {302, 403, 404}
    assert App.objects.count() == 1


@pytest.mark.parametrize("table", ["pricingterms", "enduser", "virtualsession"])
def test_tables_of_services_take_no_form(admin_client: Client, table: str) -> None:
    assert admin_client.get(url(table, "add")).status_code == 403


def test_app_is_made_changed_and_repriced(admin_client: Client) -> None:
    developer = make_developer()
    given = {"developer": developer, "name": "Notes", "public_id": "", "allowed_origins": "https://A.example"}
    fields = {**given, "anonymous_allowance": "0.000000005", **TERMS, "markup_bps": 4000, **NO_INLINES}
    assert admin_client.post(url("app", "add"), fields).status_code == 302
    app = App.objects.select_related("terms").get()
    assert (app.name, app.allowed_origins, app.anonymous_allowance) == ("Notes", ["https://a.example"], 5)
    assert app.terms.markup_bps == 4000

    changed = {**fields, "name": "Memo", "allowed_origins": "https://a.example"}
    assert admin_client.post(url("app", "change", app.id), changed).status_code == 302
    again = App.objects.get()
    assert (again.name, again.terms_id) == ("Memo", app.terms_id)

    assert admin_client.post(url("app", "change", app.id), {**changed, "share_bps": 100}).status_code == 302
    repriced = App.objects.select_related("terms").get()
    assert repriced.terms_id != app.terms_id
    assert (repriced.terms.markup_bps, repriced.terms.share_bps) == (4000, 100)
    actions = AuditEvent.objects.filter(subject_id=app.id).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["app.create", "app.update", "app.set_terms"]


def test_money_is_asked_for_and_shown_in_usd(admin_client: Client) -> None:
    given = {"developer": make_developer(), "name": "Notes", "anonymous_allowance": "0.05", **TERMS, **NO_INLINES}
    assert admin_client.post(url("app", "add"), {**given, "byok_fee": " 0.0015 "}).status_code == 302
    app = App.objects.select_related("terms").get()
    assert (app.anonymous_allowance, app.terms.byok_fee, app.terms.local_fee) == (50_000_000, 1_500_000, 0)
    page = admin_client.get(url("app", "change", app.id)).text
    assert 'value="0.0015"' in page
    assert 'value="0.0500"' in page
    assert "0.0015" in admin_client.get(url("pricingterms", "change", app.terms_id)).text
    # The same amount written in another way is no change of terms.
    same = {**given, "byok_fee": "0.00150"}
    assert admin_client.post(url("app", "change", app.id), same).status_code == 302
    assert App.objects.get().terms_id == app.terms_id


@pytest.mark.parametrize("amount", ["-1", "much", "0.0000000001", "1e99", "NaN"])
def test_amount_that_cannot_be_right_is_refused_beside_its_field(admin_client: Client, amount: str) -> None:
    given = {"developer": make_developer(), "name": "Notes", "anonymous_allowance": "0", **TERMS, **NO_INLINES}
    response = admin_client.post(url("app", "add"), {**given, "gateway_fee": amount})
    assert "gateway_fee" in response.context["adminform"].form.errors
    assert not App.objects.exists()


def test_refused_input_is_shown_as_a_message(admin_client: Client) -> None:
    fields = {"developer": make_developer(), "name": "Notes", "allowed_origins": "*", "anonymous_allowance": 0}
    response = admin_client.post(url("app", "add"), {**fields, **TERMS, **NO_INLINES}, follow=True)
    assert "An allowed origin is" in response.text
    assert not App.objects.exists()


def test_feature_is_made_changed_and_given_terms_of_its_own(admin_client: Client) -> None:
    app = make_app(terms=TermsInput(markup_bps=1))
    fields = {"app": app.id, "key": "chat", "name": "Chat", "models_allowed": "a,b", "default_model": "a"}
    fields |= {"max_output_tokens": 9, "affordable_clamp": "on", **TERMS}
    assert admin_client.post(url("appfeature", "add"), fields).status_code == 302
    feature = AppFeature.objects.get(key="chat")
    assert (feature.models_allowed, feature.terms_id) == (["a", "b"], None)

    own = {**fields, "own_terms": "on", "markup_bps": 7}
    assert admin_client.post(url("appfeature", "change", feature.id), own).status_code == 302
    feature = AppFeature.objects.select_related("terms").get(key="chat")
    assert feature.terms is not None
    assert feature.terms.markup_bps == 7
    assert admin_client.post(url("appfeature", "change", feature.id), own).status_code == 302
    assert AppFeature.objects.get(key="chat").terms_id == feature.terms_id

    assert admin_client.post(url("appfeature", "change", feature.id), fields).status_code == 302
    assert AppFeature.objects.get(key="chat").terms_id is None


@pytest.mark.parametrize("table", ["app", "appfeature", "enduser"])
def test_switches_act_and_are_recorded(admin_client: Client, furnished: App, table: str) -> None:
    rows: dict[str, Callable[[], Any]] = {
        "app": App.objects.get,
        "appfeature": lambda: AppFeature.objects.get(key="summarise"),
        "enduser": EndUser.objects.get,
    }
    row = rows[table]()
    act(admin_client, table, "disable", row.pk)
    assert rows[table]().status == "disabled"
    act(admin_client, table, "enable", row.pk)
    assert rows[table]().status == "active"
    operator = User.objects.get()
    events = AuditEvent.objects.filter(subject_id=row.pk, actor=f"user:{operator.pk}")
    assert events.count() == 2
    assert LogEntry.objects.filter(object_id=row.pk).count() == 2


def test_session_and_key_are_revoked(admin_client: Client, furnished: App) -> None:
    session, key = VirtualSession.objects.get(), VirtualKey.objects.get()
    act(admin_client, "virtualsession", "revoke", session.id)
    act(admin_client, "virtualkey", "revoke", key.id)
    session.refresh_from_db()
    key.refresh_from_db()
    assert session.revoked_at is not None
    assert key.revoked_at is not None


def test_issued_key_is_shown_once_and_works(admin_client: Client) -> None:
    app = make_app()
    response = admin_client.post(url("virtualkey", "add"), {"app": app.id, "name": "CI", "feature_key": ""})
    assert response.status_code == 200
    token = response.context["secret"]
    assert token in response.text
    assert "no-store" in response["Cache-Control"]
    assert queries.authenticate(token, now=NOW).app_id == app.id
    assert "messages" not in response.cookies
    key = VirtualKey.objects.get()
    for page in (url("virtualkey", "changelist"), url("virtualkey", "change", key.id)):
        assert token not in admin_client.get(page).text
    assert token not in str(list(LogEntry.objects.values()) + list(AuditEvent.objects.values()))


def test_staff_without_the_permission_operates_nothing(client: Client, furnished: App) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.set(
        Permission.objects.filter(codename__startswith="view_", content_type__app_label="features")
    )
    client.force_login(viewer)
    for table in TABLES:
        assert client.get(url(table, "changelist")).status_code == 200
    assert client.get(url("app", "change", furnished.id)).status_code == 200
    assert client.get(url("appfeature", "change", AppFeature.objects.earliest("id").id)).status_code == 200
    client.post(url("app", "changelist"), {"action": "disable", "_selected_action": [furnished.id]})
    assert App.objects.get().status == "active"
    assert client.post(url("virtualkey", "add"), {"app": furnished.id, "name": "x"}).status_code == 403


def test_stranger_is_sent_to_the_login(client: Client, furnished: App) -> None:
    for table in TABLES:
        assert client.get(url(table, "changelist")).status_code == 302


def test_manifest_is_written_checked_and_put_back(admin_client: Client) -> None:
    feature = put_manifest(make_app(), "output: {max_tokens: 5}")
    address = url("featuremanifest", "add")
    assert "max_tokens: 5" in admin_client.get(address, {"feature": feature.id}).text
    page = admin_client.get(address, {"template": "summary.zh"}).text
    assert "请用不超过" in page and 'href="?template=extract.en"' in page
    source = "output:\r\n  max_tokens: 9\r\npricing: {share_bps: 7}"
    given = {"feature": feature.id, "source_format": "yaml", "source": source}
    refused = admin_client.post(address, {**given, "source": "output: {max_tokens: nine}"})
    assert refused.status_code == 200
    assert "output.max_tokens: Expected" in refused.text and "max_tokens: nine" in refused.text
    assert admin_client.post(address, given).status_code == 302
    feature = AppFeature.objects.select_related("terms", "manifest").get(pk=feature.pk)
    assert feature.terms is not None and feature.manifest is not None
    assert (feature.max_output_tokens, feature.terms.share_bps, feature.manifest.number) == (9, 7, 2)
    assert "\r" not in feature.manifest.source and feature.manifest.created_by.startswith("user:")
    assert admin_client.post(url("featuremanifest", "change", feature.manifest.id), given).status_code == 403

    fields = {"name": "X", "models_allowed": "", "default_model": "", "max_output_tokens": 6, "affordable_clamp": "on"}
    page = admin_client.post(
        url("appfeature", "change", feature.id), {**fields, "own_terms": "on", **TERMS, "share_bps": 7}, follow=True
    )
    assert "set by the feature&#x27;s manifest" in page.text

    act(admin_client, "featuremanifest", "put_in_force", FeatureManifest.objects.get(number=1).id)
    feature = AppFeature.objects.select_related("manifest").get(pk=feature.pk)
    assert feature.manifest is not None and (feature.manifest.number, feature.max_output_tokens) == (1, 5)
