from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.errors import BadRequest, Forbidden, NotFound
from apps.developers.models import AuditEvent
from apps.developers.services.developers import disable_developer
from apps.features import queries, services
from apps.features.models import VirtualKey, VirtualSession
from tests.features.factories import (
    ACTOR,
    NOW,
    make_app,
    make_developer,
    make_feature,
    make_key,
    make_session,
    make_user,
)

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def test_opened_session_shows_its_token_to_the_caller_only() -> None:
    opened = make_session(make_app(), ttl=60)
    assert opened.token.startswith("mf_sess_")
    assert opened.expires_in == 60
    assert opened.token not in repr(opened)


@pytest.mark.parametrize("ttl", [0, -1, 86_401])
def test_session_of_a_strange_length_is_refused(ttl: int) -> None:
    with pytest.raises(BadRequest):
        make_session(make_app(), ttl=ttl)


def test_session_with_an_unknown_proof_is_refused() -> None:
    with pytest.raises(BadRequest):
        make_session(make_app(), assurance="trust me")


@pytest.mark.parametrize("key", ["nothing", "", "a\0b", "a\ud800b"])
def test_session_for_an_unknown_feature_is_refused(key: str) -> None:
    with pytest.raises(NotFound) as caught:
        make_session(make_app(), feature_key=key)
    assert caught.value.code == "feature_not_found"


def test_session_for_another_apps_feature_is_refused() -> None:
    developer = make_developer()
    make_feature(make_app(developer), "theirs")
    with pytest.raises(NotFound):
        make_session(make_app(developer), feature_key="theirs")


def test_session_for_another_apps_user_is_refused() -> None:
    developer = make_developer()
    stranger = make_user(make_app(developer))
    with pytest.raises(NotFound) as caught:
        make_session(make_app(developer), stranger)
    assert caught.value.code == "end_user_not_found"


def test_anonymous_session_needs_an_allowance() -> None:
    app = make_app()
    device = make_user(app, "device", anonymous=True)
    with pytest.raises(Forbidden) as caught:
        make_session(app, device, assurance="anonymous")
    assert caught.value.code == "anonymous_not_allowed"
    services.update_app(app_id=app.id, anonymous_allowance=1, **WHO)
    opened = make_session(app, device, assurance="anonymous")
    assert queries.authenticate(opened.token, now=NOW).assurance == "anonymous"


def test_anonymous_session_never_stands_for_a_named_user() -> None:
    app = make_app(anonymous_allowance=10**9)
    with pytest.raises(Forbidden) as caught:
        make_session(app, make_user(app), assurance="anonymous")
    assert caught.value.code == "anonymous_not_allowed"


def test_proof_of_identity_never_opens_a_devices_session() -> None:
    app = make_app(anonymous_allowance=10**9)
    with pytest.raises(Forbidden):
        make_session(app, make_user(app, "device", anonymous=True), assurance="user_token")


@pytest.mark.parametrize("what", ["developer", "app", "feature", "end_user"])
def test_no_session_is_opened_where_something_is_disabled(what: str) -> None:
    app = make_app()
    user, feature = make_user(app), queries.features_of_app(app.id)[0]
    {
        "developer": lambda: disable_developer(app.developer_id, **WHO),
        "app": lambda: services.disable_app(app_id=app.id, **WHO),
        "feature": lambda: services.disable_feature(feature_id=feature.id, **WHO),
        "end_user": lambda: services.disable_end_user(end_user_id=user, **WHO),
    }[what]()
    with pytest.raises(Forbidden) as caught:
        make_session(app, user)
    assert caught.value.code == f"{what}_disabled"
    if what != "end_user":
        with pytest.raises(Forbidden) as caught:
            make_key(app)
        assert caught.value.code == f"{what}_disabled"


def test_issued_key_is_shown_once_and_recorded_without_its_secret() -> None:
    app = make_app()
    token, key_id = make_key(app, name="CI", feature_key="default")
    key = VirtualKey.objects.get(pk=key_id)
    assert token.startswith("mf_key_")
    assert key.hint == token[-4:]
    assert key.developer_id == app.developer_id
    event = AuditEvent.objects.get(subject_id=key_id)
    assert (event.action, event.developer_id) == ("virtual_key.issue", app.developer_id)
    assert token not in str(event.detail)


def test_key_that_has_expired_already_is_refused() -> None:
    with pytest.raises(BadRequest):
        make_key(make_app(), expires_at=NOW)


def test_key_for_an_unknown_feature_is_refused() -> None:
    with pytest.raises(NotFound):
        make_key(make_app(), feature_key="nothing")


def test_revoking_twice_keeps_the_first_moment_and_one_record() -> None:
    app = make_app()
    opened, (_, key_id) = make_session(app), make_key(app)
    for moment in (NOW, NOW + timedelta(hours=1)):
        services.revoke_session(session_id=opened.session_id, now=moment, actor=ACTOR)
        services.revoke_virtual_key(key_id=key_id, now=moment, actor=ACTOR)
    assert VirtualSession.objects.get().revoked_at == VirtualKey.objects.get().revoked_at == NOW
    assert AuditEvent.objects.filter(action__in=["session.revoke", "virtual_key.revoke"]).count() == 2


def test_database_keeps_tokens_within_their_app_and_developer() -> None:
    ada, bob = make_developer(), make_developer("Bob")
    app, other = make_app(ada), make_app(bob)
    session = VirtualSession.objects.filter(pk=make_session(app).session_id)
    key = VirtualKey.objects.filter(pk=make_key(app)[1])
    foreign = make_feature(other)
    for rows, change in (
        (session, {"end_user_id": make_user(other)}),
        (session, {"feature_id": foreign.id}),
        (session, {"app_id": other.id}),
        (session, {"assurance": "trust me"}),
        (session, {"expires_at": NOW}),
        (key, {"feature_id": foreign.id}),
        (key, {"developer_id": bob}),
        (key, {"expires_at": NOW}),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**change)
