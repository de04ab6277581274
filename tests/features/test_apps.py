from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.developers.models import AuditEvent
from apps.features import queries, services
from apps.features.models import App, AppFeature
from apps.features.services import TermsInput
from tests.features.factories import ACTOR, NOW, make_app, make_developer, make_feature

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def actions(subject_id: str) -> list[str]:
    return list(AuditEvent.objects.filter(subject_id=subject_id).order_by("id").values_list("action", flat=True))


def test_app_comes_with_a_public_id_and_a_default_feature() -> None:
    developer = make_developer()
    app = make_app(developer, name="  Notes ", models=["m"], default_model="m", max_output_tokens=9)

    info = queries.app_by_public_id(app.public_id)
    assert info == queries.app_by_id(app.id)
    assert info == queries.AppInfo(app.id, app.public_id, developer, "Notes", (), 0, True, False, app.terms_id)
    assert app.public_id.startswith("app_pub_")
    (feature,) = queries.features_of_app(app.id)
    assert (feature.key, feature.models, feature.default_model, feature.max_output_tokens, feature.terms_id) == (
        "default",
        {"m"},
        "m",
        9,
        None,
    )
    assert actions(app.id) == ["app.create"]


def test_app_of_an_unknown_developer_is_refused() -> None:
    with pytest.raises(NotFound) as caught:
        make_app("dev_nobody")
    assert caught.value.code == "developer_not_found"


def test_public_id_that_is_taken_is_a_conflict_and_leaves_nothing() -> None:
    developer = make_developer()
    make_app(developer, public_id="app_pub_notes")
    with pytest.raises(Conflict) as caught:
        make_app(developer, public_id="app_pub_notes")
    assert caught.value.code == "public_id_taken"
    assert App.objects.count() == AppFeature.objects.count() == 1


@pytest.mark.parametrize("public_id", ["", "notes", "app_pub_", "app_pub_a b", "app_pub_" + "x" * 49, "app_pub_abcd\n"])
def test_malformed_public_id_is_refused(public_id: str) -> None:
    with pytest.raises(BadRequest):
        make_app(public_id=public_id)


@pytest.mark.parametrize(
    "name", ["", "   ", "a\0b", "a\nb", "a\ud800b", "x" * 201, "my mf_key_abc", "sk-0123456789abcdef"]
)
def test_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        make_app(name=name)
    app = make_app()
    with pytest.raises(BadRequest):
        services.update_app(app_id=app.id, name=name, **WHO)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("tauri://localhost", "tauri://localhost"),
    ],
)
def test_origin_is_kept_as_a_browser_sends_it(given: str, kept: str) -> None:
    assert make_app(allowed_origins=[given, given]).allowed_origins == [kept]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "example.com",
        "https://",
        "https://*.example.com",
        "https://example.com/path",
        "https://example.com?q",
        "https://example.com#f",
        "https://user@example.com",
        "https://example.com:port",
        "https://example.com:99999",
        "https://exa mple.com",
        "https://example.com\nhttps://evil.example",
        "https://" + "x" * 300,
    ],
)
def test_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(BadRequest):
        make_app(allowed_origins=[origin])


def test_too_many_origins_are_refused() -> None:
    with pytest.raises(BadRequest):
        make_app(allowed_origins=[f"https://{number}.example" for number in range(101)])


def test_update_changes_what_is_given_and_records_it_once() -> None:
    app = make_app(allowed_origins=["https://a.example"])
    services.update_app(app_id=app.id, name="Memo", anonymous_allowance=5, **WHO)
    services.update_app(app_id=app.id, name="Memo", **WHO)

    app.refresh_from_db()
    assert (app.name, app.anonymous_allowance, app.allowed_origins) == ("Memo", 5, ["https://a.example"])
    assert actions(app.id) == ["app.create", "app.update"]


@pytest.mark.parametrize("allowance", [-1, 10**15 + 1])
def test_allowance_out_of_range_is_refused(allowance: int) -> None:
    with pytest.raises(BadRequest):
        make_app(anonymous_allowance=allowance)


def test_switches_are_idempotent_and_recorded_once() -> None:
    app = make_app()
    for _ in range(2):
        services.disable_app(app_id=app.id, **WHO)
    info = queries.app_by_id(app.id)
    assert info is not None
    assert not info.active
    for _ in range(2):
        services.enable_app(app_id=app.id, **WHO)
    assert actions(app.id) == ["app.create", "app.disable", "app.enable"]


def test_feature_key_is_unique_in_its_app_only() -> None:
    developer = make_developer()
    one, other = make_app(developer), make_app(developer)
    make_feature(one, "summarise")
    make_feature(other, "summarise")
    with pytest.raises(Conflict) as caught:
        make_feature(one, "summarise")
    assert caught.value.code == "feature_key_taken"
    assert [feature.key for feature in queries.features_of_app(one.id)] == ["default", "summarise"]


@pytest.mark.parametrize("key", ["", "Chat", "a b", "-a", "a-", "a/b", "ä", "x" * 65, "a\n"])
def test_malformed_feature_key_is_refused(key: str) -> None:
    with pytest.raises(BadRequest):
        make_feature(make_app(), key, name="x")


@pytest.mark.parametrize(
    "fields",
    [
        {"models": ["a"], "default_model": "b"},
        {"models": [""]},
        {"models": ["a b"]},
        {"models": ["a\0"]},
        {"default_model": "x" * 201},
        {"models": [str(number) for number in range(201)]},
        {"max_output_tokens": 0},
        {"max_output_tokens": 10_000_001},
    ],
)
def test_feature_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        make_feature(make_app(), **fields)


def test_update_of_a_feature_keeps_its_default_among_its_models() -> None:
    feature = make_feature(make_app(), models=["a", "b"], default_model="a")
    with pytest.raises(BadRequest):
        services.update_feature(feature_id=feature.id, models=["b"], **WHO)
    services.update_feature(feature_id=feature.id, models=["b"], default_model="b", **WHO)
    services.update_feature(feature_id=feature.id, max_output_tokens=3, affordable_clamp=False, name="Short", **WHO)

    feature.refresh_from_db()
    assert (feature.models_allowed, feature.default_model, feature.name) == (["b"], "b", "Short")
    assert (feature.max_output_tokens, feature.affordable_clamp) == (3, False)
    assert actions(feature.id) == ["feature.create", "feature.update", "feature.update"]


def test_terms_are_written_anew_and_pointed_to() -> None:
    app = make_app(terms=TermsInput(markup_bps=1))
    feature = make_feature(app)
    first = app.terms_id

    second = services.set_app_terms(app_id=app.id, terms=TermsInput(markup_bps=2, share_bps=3), **WHO)
    own = services.set_feature_terms(feature_id=feature.id, terms=TermsInput(gateway_fee=4), **WHO)
    assert own is not None

    loaded = queries.load_terms([first, second, own, 10**9])
    assert {id: (terms.markup_bps, terms.share_bps, terms.gateway_fee) for id, terms in loaded.items()} == {
        first: (1, 0, 0),
        second: (2, 3, 0),
        own: (0, 0, 4),
    }
    assert services.set_feature_terms(feature_id=feature.id, terms=None, **WHO) is None
    feature.refresh_from_db()
    assert feature.terms_id is None


@pytest.mark.parametrize(
    "fields",
    [
        {"platform_pricing": "free"},
        {"developer_pricing": ""},
        {"markup_bps": -1},
        {"markup_bps": 1_000_001},
        {"share_bps": 10_001},
        {"fixed_price": -1},
        {"own_price": 10**15 + 1},
        {"gateway_fee": -1},
        {"byok_fee": -1},
        {"local_fee": -1},
    ],
)
def test_terms_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        make_app(terms=TermsInput(**fields))
    assert caught.value.code == "invalid_terms"
    assert caught.value.param in fields


@pytest.mark.parametrize(
    ("service", "subject"),
    [
        (services.update_app, {"app_id": "app_x"}),
        (services.disable_app, {"app_id": "app_x"}),
        (services.enable_app, {"app_id": "app_x"}),
        (services.set_app_terms, {"app_id": "app_x", "terms": TermsInput()}),
        (services.create_feature, {"app_id": "app_x", "key": "k", "name": "n"}),
        (services.update_feature, {"feature_id": "feat_x"}),
        (services.disable_feature, {"feature_id": "feat_x"}),
        (services.enable_feature, {"feature_id": "feat_x"}),
        (services.set_feature_terms, {"feature_id": "feat_x", "terms": None}),
        (services.disable_end_user, {"end_user_id": "usr_x"}),
        (services.enable_end_user, {"end_user_id": "usr_x"}),
        (services.revoke_session, {"session_id": "sess_x"}),
        (services.revoke_virtual_key, {"key_id": "key_x"}),
        (services.issue_virtual_key, {"app_id": "app_x", "name": "n"}),
    ],
)
def test_unknown_subject_is_not_found(service: Any, subject: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        service(**subject, **WHO)


def test_origins_of_all_are_those_of_active_apps() -> None:
    developer = make_developer()
    make_app(developer, allowed_origins=["https://a.example", "https://b.example"])
    make_app(developer, allowed_origins=["https://b.example"])
    off = make_app(developer, allowed_origins=["https://off.example"])
    services.disable_app(app_id=off.id, **WHO)
    assert queries.allowed_origins_of_all() == {"https://a.example", "https://b.example"}


@pytest.mark.parametrize("wanted", ["app_pub_x", "", "a\0b", "a\ud800b"])
def test_unknown_app_is_none(wanted: str) -> None:
    assert queries.app_by_public_id(wanted) is None
    assert queries.app_by_id(wanted) is None
    assert queries.end_user_by_id(wanted) is None


def test_apps_of_a_developer_are_its_own() -> None:
    mine, other = make_developer(), make_developer("Bob")
    app = make_app(mine)
    make_app(other)
    assert [info.id for info in queries.apps_of_developer(mine)] == [app.id]


def test_what_the_operator_switched_off_its_developer_cannot_switch_on() -> None:
    app = make_app()
    services.disable_app(app_id=app.id, **WHO)
    services.suspend_app(app_id=app.id, **WHO)
    services.disable_app(app_id=app.id, **WHO)  # which changes nothing
    with pytest.raises(Forbidden) as refused:
        services.enable_app(app_id=app.id, **WHO)
    assert refused.value.code == "app_suspended"
    info = queries.app_by_id(app.id)
    assert info is not None and (info.active, info.suspended) == (False, True)
    services.resume_app(app_id=app.id, **WHO)
    info = queries.app_by_id(app.id)
    assert info is not None and (info.active, info.suspended) == (True, False)


def test_suspended_app_that_is_active_is_refused_by_the_database() -> None:
    app = make_app()
    with pytest.raises(IntegrityError), transaction.atomic():
        App.objects.filter(pk=app.id).update(suspended=True)
