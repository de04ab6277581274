import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.errors import BadRequest, FaucetError, Forbidden, NotFound
from apps.developers.models import AuditEvent, Developer, DeveloperToken
from apps.developers.services.developers import disable_developer
from apps.developers.services.tokens import (
    LAST_USED_STEP,
    DeveloperIdentity,
    authenticate_token,
    issue_token,
    revoke_token,
)
from tests.developers.factories import NOW, WHO, make_developer, make_token

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def refusal(token: str, now=NOW) -> tuple[int, str]:
    with pytest.raises(FaucetError) as refused:
        authenticate_token(token, now=now)
    return refused.value.status, refused.value.code


def test_token_speaks_for_its_developer_with_its_scopes() -> None:
    developer = make_developer()
    token, token_id = make_token(developer, "usage:read", "apps:read")
    assert token.startswith("mf_dev_")
    identity = authenticate_token(token, now=NOW)
    assert identity == DeveloperIdentity(developer, token_id, frozenset({"usage:read", "apps:read"}))
    identity.require("apps:read")
    with pytest.raises(Forbidden) as refused:
        identity.require("apps:write")
    assert refused.value.code == "insufficient_scope"


def test_token_is_stored_only_as_a_hash() -> None:
    token, token_id = make_token(make_developer())
    secret = token.removeprefix("mf_dev_")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT row_to_json(t)::text FROM developer_tokens t UNION ALL SELECT detail::text FROM audit_events"
        )
        stored = " ".join(row[0] for row in cursor.fetchall())
    assert secret not in stored
    assert DeveloperToken.objects.get(id=token_id).hint == token[-4:]


def test_unknown_revoked_and_expired_tokens_are_told_apart() -> None:
    developer = make_developer()
    token, token_id = make_token(developer, expires_at=NOW + DAY)
    assert refusal(token + "x") == (401, "invalid_token")
    assert refusal("mf_key_" + token.removeprefix("mf_dev_")) == (401, "invalid_token")
    assert refusal("") == (401, "invalid_token")
    assert refusal("mf_dev_é\0") == (401, "invalid_token")
    assert refusal(token, NOW + DAY) == (401, "token_expired")
    assert revoke_token(token_id, **WHO) == (token_id,)
    assert refusal(token) == (401, "token_revoked")
    assert revoke_token(token_id, **WHO) == ()


def test_token_of_a_disabled_developer_is_refused() -> None:
    developer = make_developer()
    token, _ = make_token(developer)
    disable_developer(developer, **WHO)
    assert refusal(token) == (403, "developer_disabled")
    with pytest.raises(Forbidden):
        make_token(developer)


@pytest.mark.parametrize("scopes", [(), ("everything",), ("usage:read", "root")])
def test_token_with_no_or_unknown_scopes_is_refused(scopes: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        issue_token(make_developer(), "CI", scopes, **WHO)


def test_token_without_a_name_or_already_expired_is_refused() -> None:
    developer = make_developer()
    with pytest.raises(BadRequest):
        issue_token(developer, " ", ["usage:read"], **WHO)
    with pytest.raises(BadRequest):
        make_token(developer, expires_at=NOW)
    with pytest.raises(NotFound):
        make_token("dev_unknown")


def test_child_has_no_scope_that_its_parent_lacks() -> None:
    developer = make_developer()
    _, parent = make_token(developer, "tokens:write", "usage:read")
    with pytest.raises(BadRequest) as refused:
        make_token(developer, "usage:read", "revenue:read", parent_id=parent)
    assert refused.value.param == "scopes"
    child, _ = make_token(developer, "usage:read", parent_id=parent)
    assert authenticate_token(child, now=NOW).scopes == {"usage:read"}


def test_child_does_not_outlive_its_parent() -> None:
    developer = make_developer()
    _, parent = make_token(developer, "tokens:write", expires_at=NOW + DAY)
    for expires_at in (None, NOW + 2 * DAY):
        with pytest.raises(BadRequest) as refused:
            make_token(developer, "tokens:write", parent_id=parent, expires_at=expires_at)
        assert refused.value.param == "expires_at"
    make_token(developer, "tokens:write", parent_id=parent, expires_at=NOW + DAY)


def test_parent_must_be_valid_allowed_and_of_the_same_developer() -> None:
    developer, stranger = make_developer(), make_developer("Other")
    _, reader = make_token(developer, "usage:read")
    _, writer = make_token(developer, "tokens:write", "usage:read", expires_at=NOW + DAY)
    with pytest.raises(Forbidden):
        make_token(developer, "usage:read", parent_id=reader)
    with pytest.raises(NotFound):
        make_token(stranger, "usage:read", parent_id=writer)
    with pytest.raises(Forbidden):
        make_token(developer, "usage:read", parent_id=writer, expires_at=NOW + 3 * DAY, now=NOW + 2 * DAY)
    revoke_token(writer, **WHO)
    with pytest.raises(Forbidden):
        make_token(developer, "usage:read", parent_id=writer, expires_at=NOW + DAY)


def test_revoking_a_parent_revokes_its_descendants_only() -> None:
    developer = make_developer()
    _, parent = make_token(developer, "tokens:write")
    child, child_id = make_token(developer, "tokens:write", parent_id=parent)
    grandchild, grandchild_id = make_token(developer, "tokens:write", parent_id=child_id)
    sibling, _ = make_token(developer, "tokens:write")
    assert set(revoke_token(parent, **WHO)) == {parent, child_id, grandchild_id}
    assert refusal(child) == refusal(grandchild) == (401, "token_revoked")
    authenticate_token(sibling, now=NOW)
    trail = AuditEvent.objects.filter(action="token.revoke").values_list("subject_id", "detail")
    assert dict(trail) == {
        parent: {},
        child_id: {"because_of": parent},
        grandchild_id: {"because_of": parent},
    }
    with pytest.raises(NotFound):
        revoke_token("dtok_unknown", **WHO)


def test_last_use_is_kept_coarsely(django_assert_num_queries) -> None:
    token, token_id = make_token(make_developer())

    def last_used():
        return DeveloperToken.objects.get(id=token_id).last_used_at

    authenticate_token(token, now=NOW)
    with django_assert_num_queries(1):
        authenticate_token(token, now=NOW + LAST_USED_STEP / 2)
    assert last_used() == NOW
    authenticate_token(token, now=NOW + LAST_USED_STEP)
    assert last_used() == NOW + LAST_USED_STEP


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE developer_tokens SET scopes = '{}'",
        "UPDATE developer_tokens SET scopes = '{root}'",
        "UPDATE developer_tokens SET parent_id = id",
    ],
)
def test_database_refuses_what_the_services_refuse(statement: str) -> None:
    make_token(make_developer())
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_child_issued_while_its_ancestor_is_revoked_is_not_left_behind() -> None:
    developer = make_developer()
    _, parent = make_token(developer, "tokens:write")
    _, child = make_token(developer, "tokens:write", parent_id=parent)
    outcome: list[object] = []

    def issue() -> None:
        try:
            outcome.append(make_token(developer, "tokens:write", parent_id=child))
        except Forbidden as error:
            outcome.append(error.code)
        finally:
            connection.close()

    with transaction.atomic():
        Developer.objects.select_for_update().get(id=developer)
        thread = threading.Thread(target=issue)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()  # waits for the revocation
        revoke_token(parent, **WHO)
    thread.join(10)
    assert outcome == ["parent_not_valid"]
    assert not DeveloperToken.objects.filter(revoked_at=None).exists()
