from datetime import timedelta
from typing import Any

import jwt
import pytest

from apps.core.errors import NotFound, Unauthorized
from apps.core.models import PolicyEpoch
from apps.developers.models import AuditEvent
from apps.features.proofs import verify_user_token
from apps.vault import queries, services
from apps.vault.models import AppSecret
from tests.features.factories import ACTOR, NOW, make_app, make_developer

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def test_issued_secret_names_its_app_and_is_stored_sealed() -> None:
    app = make_app()
    secret = services.issue_app_secret(app.id, **WHO)
    row = AppSecret.objects.get()
    assert secret.startswith("mf_app_")
    assert queries.app_id_of_secret(secret) == app.id
    assert queries.signing_secrets(app.id) == (secret,)
    assert row.hint == secret[-4:]
    assert secret not in str(AppSecret.objects.values().get()) + str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize("secret", ["", "mf_app_unknown", "mf_app_é", "mf_app_\ud800", "\0"])
def test_unknown_secret_names_no_app(secret: str) -> None:
    services.issue_app_secret(make_app().id, **WHO)
    assert queries.app_id_of_secret(secret) is None


def test_secret_of_an_unknown_app_is_not_issued() -> None:
    with pytest.raises(NotFound):
        services.issue_app_secret("app_x", **WHO)
    with pytest.raises(NotFound):
        services.revoke_app_secret("sec_x", **WHO)


def test_two_secrets_are_valid_until_one_is_revoked() -> None:
    app = make_app()
    old = services.issue_app_secret(app.id, **WHO)
    new = services.issue_app_secret(app.id, now=NOW + timedelta(days=1), actor=ACTOR)
    assert queries.signing_secrets(app.id) == (new, old)

    first = AppSecret.objects.earliest("created_at")
    before = PolicyEpoch.objects.get().number
    for _ in range(2):
        services.revoke_app_secret(first.id, **WHO)
    assert PolicyEpoch.objects.get().number > before
    assert queries.signing_secrets(app.id) == (new,)
    assert queries.app_id_of_secret(old) is None
    assert queries.app_id_of_secret(new) == app.id
    assert AuditEvent.objects.filter(action="app_secret.revoke").count() == 1


def test_user_token_is_verified_with_the_secrets_of_its_app_only() -> None:
    developer = make_developer()
    app, other = make_app(developer), make_app(developer)
    secret, foreign = services.issue_app_secret(app.id, **WHO), services.issue_app_secret(other.id, **WHO)
    at = int(NOW.timestamp())
    claims = {"sub": "alice", "aud": app.public_id, "iat": at, "exp": at + 60}
    secrets = queries.signing_secrets(app.id)

    def verify(signed_with: str) -> str:
        token = jwt.encode(claims, signed_with, algorithm="HS256")
        return verify_user_token(token, secrets=secrets, public_app_id=app.public_id, now=NOW)

    assert verify(secret) == "alice"
    with pytest.raises(Unauthorized):
        verify(foreign)
