import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.errors import FaucetError, Forbidden, Unauthorized
from apps.core.hashing import keyed_hash
from apps.developers.services.developers import disable_developer, enable_developer
from apps.features import queries, services
from apps.features.models import App, VirtualKey, VirtualSession
from apps.features.services import TermsInput
from tests.features.factories import ACTOR, NOW, make_app, make_feature, make_key, make_session, make_user

pytestmark = pytest.mark.django_db


def refusal(token: str, **moment: object) -> str:
    with pytest.raises((Unauthorized, Forbidden)) as caught:
        queries.authenticate(token, **{"now": NOW, **moment})  # type: ignore[arg-type]
    assert caught.value.status == (401 if isinstance(caught.value, Unauthorized) else 403)
    return str(caught.value.code)


def token_of(kind: str, app: App, **fields: object) -> str:
    return make_session(app, **fields).token if kind == "session" else make_key(app, **fields)[0]


def test_session_stands_for_its_user_app_and_feature() -> None:
    app = make_app(
        allowed_origins=["https://notes.example"], terms=TermsInput(markup_bps=4000, share_bps=4000), default_model="m"
    )
    user = make_user(app)
    opened = make_session(app, user)

    principal = queries.authenticate(opened.token, now=NOW)

    assert principal == queries.Principal(
        kind="session",
        id=opened.session_id,
        assurance="user_token",
        app_id=app.id,
        public_app_id=app.public_id,
        developer_id=app.developer_id,
        feature_key="default",
        end_user_id=user,
        expires_at=NOW + timedelta(hours=1),
        terms=queries.Terms(app.terms_id, "markup", 4000, 0, "fee_only", 0, 0, 0, 0, 4000),
        models=frozenset(),
        default_model="m",
        max_output_tokens=4096,
        affordable_clamp=True,
        allowed_origins=("https://notes.example",),
    )


def test_virtual_key_stands_for_the_developer() -> None:
    app = make_app()
    token, key_id = make_key(app)

    principal = queries.authenticate(token, now=NOW + timedelta(days=4000))

    assert (principal.kind, principal.id, principal.assurance) == ("virtual_key", key_id, "virtual_key")
    assert (principal.developer_id, principal.end_user_id, principal.expires_at) == (app.developer_id, None, None)


@pytest.mark.parametrize("kind", ["session", "virtual_key"])
def test_feature_brings_its_own_limits_and_terms(kind: str) -> None:
    app = make_app(terms=TermsInput(markup_bps=100))
    make_feature(
        app,
        "summarise",
        models=["small", "large"],
        default_model="small",
        max_output_tokens=50,
        affordable_clamp=False,
        terms=TermsInput(platform_pricing="fixed", fixed_price=7),
    )

    principal = queries.authenticate(token_of(kind, app, feature_key="summarise"), now=NOW)

    assert principal.feature_key == "summarise"
    assert principal.models == {"small", "large"}
    assert (principal.default_model, principal.max_output_tokens, principal.affordable_clamp) == ("small", 50, False)
    assert (principal.terms.platform_pricing, principal.terms.fixed_price, principal.terms.markup_bps) == (
        "fixed",
        7,
        0,
    )


@pytest.mark.parametrize("kind", ["session", "virtual_key"])
def test_authenticate_is_one_query(kind: str) -> None:
    token = token_of(kind, make_app())
    with CaptureQueriesContext(
        connection,
    ) as queries_made:
        queries.authenticate(token, now=NOW)
    assert len(queries_made) == 1


@pytest.mark.parametrize(
    "token",
    [
        "",
        "mf_sess_",
        "mf_key_unknown",
        "mf_dev_of-a-developer",
        "sk-of-a-provider",
        "mf_sess_' OR 1=1 --",
        "mf_sess_\0",
        "mf_sess_é",
        "mf_sess_\ud800",
        "mf_key_" + "x" * 100_000,
    ],
)
def test_unknown_token_is_refused(token: str) -> None:
    make_session(make_app())
    assert refusal(token) == "invalid_token"


@pytest.mark.parametrize("kind", ["session", "virtual_key"])
def test_token_in_the_database_is_not_the_token(kind: str) -> None:
    token = token_of(kind, make_app())
    rows = VirtualSession.objects.all() if kind == "session" else VirtualKey.objects.all()
    stored = rows.values().get()
    assert stored["token_hash"] == keyed_hash("token", token)
    assert token not in str(stored)
    assert refusal(stored["token_hash"]) == "invalid_token"


def test_session_expires() -> None:
    token = make_session(make_app(), ttl=60).token
    queries.authenticate(token, now=NOW + timedelta(seconds=59))
    assert refusal(token, now=NOW + timedelta(seconds=60)) == "token_expired"


def test_virtual_key_expires() -> None:
    token, _ = make_key(make_app(), expires_at=NOW + timedelta(days=1))
    queries.authenticate(token, now=NOW)
    assert refusal(token, now=NOW + timedelta(days=1)) == "token_expired"


def test_revoked_session_is_refused() -> None:
    opened = make_session(make_app())
    services.revoke_session(session_id=opened.session_id, now=NOW, actor=ACTOR)
    assert refusal(opened.token) == "token_revoked"
    assert refusal(opened.token, now=NOW + timedelta(days=1)) == "token_revoked"


def test_revoked_virtual_key_is_refused() -> None:
    token, key_id = make_key(make_app())
    services.revoke_virtual_key(key_id=key_id, now=NOW, actor=ACTOR)
    assert refusal(token) == "token_revoked"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *itertools.product(["session", "virtual_key"], ["app", "feature", "named feature", "developer"]),
        ("session", "end_user"),
    ],
)
def test_disabled_means_refused_until_enabled(kind: str, what: str) -> None:
    app = make_app()
    named = make_feature(app, "summarise")
    user = make_user(app)
    fields: dict[str, object] = {"feature_key": "summarise"} if what == "named feature" else {}
    token = token_of(kind, app, **fields)
    default = queries.features_of_app(app.id)[0]
    assert default.key == "default"
    switches: dict[str, tuple[Callable[..., None], Callable[..., None], dict[str, str]]] = {
        "app": (services.disable_app, services.enable_app, {"app_id": app.id}),
        "feature": (services.disable_feature, services.enable_feature, {"feature_id": default.id}),
        "named feature": (services.disable_feature, services.enable_feature, {"feature_id": named.id}),
        "developer": (disable_developer, enable_developer, {"developer_id": app.developer_id}),
        "end_user": (services.disable_end_user, services.enable_end_user, {"end_user_id": user}),
    }
    disable, enable, subject = switches[what]

    disable(**subject, now=NOW, actor=ACTOR)
    assert refusal(token) == f"{what.removeprefix('named ')}_disabled"
    enable(**subject, now=NOW, actor=ACTOR)
    queries.authenticate(token, now=NOW)


def test_disabling_one_feature_leaves_the_other() -> None:
    app = make_app()
    services.disable_feature(feature_id=make_feature(app, "summarise").id, now=NOW, actor=ACTOR)
    queries.authenticate(make_session(app).token, now=NOW)


def test_new_terms_count_for_tokens_already_out() -> None:
    app = make_app()
    token = make_session(app).token
    written = services.set_app_terms(app_id=app.id, terms=TermsInput(markup_bps=5), now=NOW, actor=ACTOR)
    assert queries.authenticate(token, now=NOW).terms.id == written


def refusal_for(token: str, key: str) -> str:
    with pytest.raises(FaucetError) as caught:
        queries.principal_for_feature(token, key, now=NOW)
    return str(caught.value.code)


@pytest.mark.parametrize("kind", ["session", "virtual_key"])
def test_token_without_a_feature_calls_any_feature_of_its_app(kind: str) -> None:
    app = make_app()
    make_feature(app)
    make_feature(make_app(app.developer_id), "elsewhere")
    token = token_of(kind, app)
    found = queries.principal_for_feature(token, "summarise", now=NOW)
    own = queries.authenticate(token, now=NOW)
    assert (found.feature_key, own.feature_key, found.id) == ("summarise", "default", own.id)
    assert queries.principal_for_feature(token, "default", now=NOW) == own
    for key in ("elsewhere", "none", "", "a\0b", "\ud800", "é", "x" * 500):
        assert refusal_for(token, key) == "feature_not_found"


@pytest.mark.parametrize("kind", ["session", "virtual_key"])
def test_token_for_one_feature_calls_that_one_only(kind: str) -> None:
    app = make_app()
    make_feature(app)
    token = token_of(kind, app, feature_key="summarise")
    assert queries.principal_for_feature(token, "summarise", now=NOW) == queries.authenticate(token, now=NOW)
    for key in ("default", "none", "a\0b"):
        assert refusal_for(token, key) == "feature_not_allowed"


def test_refusals_for_a_feature_are_those_of_the_token_and_then_of_the_feature() -> None:
    app = make_app()
    feature, user = make_feature(app), make_user(app)
    opened = make_session(app, user)
    assert refusal_for("mf_sess_unknown", "summarise") == "invalid_token"
    services.disable_feature(feature_id=feature.id, now=NOW, actor=ACTOR)
    assert refusal_for(opened.token, "summarise") == "feature_disabled"
    assert queries.principal_for_feature(opened.token, "default", now=NOW).feature_key == "default"
    services.disable_app(app_id=app.id, now=NOW, actor=ACTOR)
    assert refusal_for(opened.token, "none") == "app_disabled"
    services.revoke_session(session_id=opened.session_id, now=NOW, actor=ACTOR)
    assert refusal_for(opened.token, "summarise") == "token_revoked"


def test_principal_for_a_feature_is_one_query() -> None:
    app = make_app()
    make_feature(app)
    token = make_session(app).token
    with CaptureQueriesContext(connection) as queries_made:
        queries.principal_for_feature(token, "summarise", now=NOW)
    assert len(queries_made) == 1
