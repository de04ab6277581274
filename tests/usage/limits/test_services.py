from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound
from apps.developers.models import AuditEvent
from apps.usage.limits.queries import load_limit_rules
from apps.usage.limits.rules import Dimension
from apps.usage.models import LimitRule
from apps.usage.services.limits import create_limit_rule, delete_limit_rule, update_limit_rule
from tests.features.factories import ACTOR, NOW, make_app, make_feature, make_key, make_user

pytestmark = pytest.mark.django_db


def create(scope: str, scope_id: str = "", **limits: Any) -> str:
    return create_limit_rule(scope=scope, scope_id=scope_id, **limits, now=NOW, actor=ACTOR)


def epoch() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM policy_epoch")
        number: int = cursor.fetchone()[0]
        return number


def test_rules_are_loaded_while_they_are_enabled_and_each_change_moves_the_epoch() -> None:
    before = epoch()
    rule = create("ip", rpm=5)
    assert load_limit_rules().for_call({"ip": "::1"}) == (Dimension("ip", "::1", rpm=5),)
    update_limit_rule(rule, rpm=None, tpm=7, now=NOW, actor=ACTOR)
    assert load_limit_rules().for_call({"ip": "::1"}) == (Dimension("ip", "::1", tpm=7),)
    update_limit_rule(rule, enabled=False, now=NOW, actor=ACTOR)
    assert not load_limit_rules()
    delete_limit_rule(rule, now=NOW, actor=ACTOR)
    assert epoch() == before + 4
    assert not LimitRule.objects.exists()
    actions = AuditEvent.objects.filter(subject_id=rule).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["limit_rule.create", "limit_rule.update", "limit_rule.update", "limit_rule.delete"]


def test_a_rule_names_whom_calls_will_have() -> None:
    app = make_app()
    make_feature(app, "summarise")
    user, key = make_user(app), make_key(app)[1]
    given = {
        "developer": (app.developer_id, app.developer_id),
        "app": (app.public_id, app.id),
        "feature": (f"{app.public_id}/summarise", f"{app.id}/summarise"),
        "end_user": (user, user),
        "key": (key, key),
        "session": ("sess_1", "sess_1"),
        "credential": ("cred_1", "cred_1"),
        "ip": ("2001:db8::7:1", "2001:db8::/64"),
    }
    for scope, (asked, stored) in given.items():
        rule = LimitRule.objects.get(id=create(scope, asked, concurrency=1))
        assert rule.scope_id == stored
        owner = AuditEvent.objects.get(subject_id=rule.id).developer_id
        assert owner == (None if scope in ("session", "credential", "ip") else app.developer_id)
    assert LimitRule.objects.get(id=create("ip", "2001:db8:0:1::/64", rpm=1)).scope_id == "2001:db8:0:1::/64"


@pytest.mark.parametrize(
    ("given", "error", "param"),
    [
        ({"scope": "galaxy", "rpm": 1}, BadRequest, "scope"),
        ({"scope": "app"}, BadRequest, "rpm"),
        ({"scope": "app", "rpm": 0}, BadRequest, "rpm"),
        ({"scope": "app", "tpm": -1}, BadRequest, "tpm"),
        ({"scope": "app", "tpm": 2**53 + 1}, BadRequest, "tpm"),
        ({"scope": "app", "concurrency": True}, BadRequest, "concurrency"),
        ({"scope": "app", "rpm": 2**31}, BadRequest, "rpm"),
        ({"scope": "platform", "scope_id": "x", "rpm": 1}, BadRequest, "scope_id"),
        ({"scope": "ip", "scope_id": "10.0.0.0/8", "rpm": 1}, BadRequest, "scope_id"),
        ({"scope": "session", "scope_id": "usr_1", "rpm": 1}, BadRequest, "scope_id"),
        ({"scope": "end_user", "scope_id": "a\0b", "rpm": 1}, BadRequest, "scope_id"),
        ({"scope": "end_user", "scope_id": "x" * 129, "rpm": 1}, BadRequest, "scope_id"),
        ({"scope": "app", "scope_id": "app_1", "rpm": 1}, NotFound, "scope_id"),
        ({"scope": "feature", "scope_id": "app_1/default", "rpm": 1}, NotFound, "scope_id"),
        ({"scope": "key", "scope_id": "key_1", "rpm": 1}, NotFound, "scope_id"),
        ({"scope": "developer", "scope_id": "dev_1", "rpm": 1}, NotFound, "scope_id"),
    ],
)
def test_a_rule_that_could_limit_nobody_is_refused(given: dict[str, Any], error: type[FaucetError], param: str) -> None:
    with pytest.raises(error) as caught:
        create(**given)
    assert caught.value.param == param
    assert not LimitRule.objects.exists()


def test_a_feature_is_named_with_its_app_and_an_app_without_a_feature() -> None:
    app = make_app()
    for scope, scope_id in (("feature", app.id), ("app", f"{app.id}/default"), ("feature", f"{app.id}/nothing")):
        with pytest.raises(NotFound):
            create(scope, scope_id, rpm=1)


def test_a_scope_and_id_have_one_rule() -> None:
    create("app", rpm=1)
    with pytest.raises(Conflict) as caught:
        create("app", rpm=2)
    assert caught.value.code == "already_exists"


def test_the_last_limit_of_a_rule_stays() -> None:
    rule = create("app", rpm=1)
    with pytest.raises(BadRequest):
        update_limit_rule(rule, rpm=None, now=NOW, actor=ACTOR)
    with pytest.raises(BadRequest):
        update_limit_rule(rule, scope="platform", now=NOW, actor=ACTOR)
    with pytest.raises(NotFound):
        update_limit_rule("lim_1", rpm=2, now=NOW, actor=ACTOR)
    with pytest.raises(NotFound):
        delete_limit_rule("lim_1", now=NOW, actor=ACTOR)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"rpm": None}, "limit_rules_limit_something"),
        ({"rpm": 0}, "limit_rules_positive"),
        ({"tpm": 0}, "limit_rules_positive"),
        ({"concurrency": -1}, "limit_rules_positive"),
        ({"scope": "galaxy"}, "limit_rules_scope_known"),
        ({"scope": "platform", "scope_id": "x"}, "limit_rules_one_platform"),
        ({"scope": "ip"}, "limit_rules_one_per_scope"),
    ],
)
def test_the_database_refuses_what_makes_no_sense(changes: dict[str, Any], constraint: str) -> None:
    create("ip", rpm=1)
    rule = create("app", rpm=1)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        LimitRule.objects.filter(id=rule).update(**changes)


def url(view: str, *args: object) -> str:
    return reverse(f"admin:usage_limitrule_{view}", args=args)


FORM = {"scope": "app", "scope_id": "", "rpm": "60", "tpm": "", "concurrency": "", "enabled": "on"}


def test_operator_adds_changes_and_deletes_a_rule(admin_client: Client) -> None:
    assert admin_client.post(url("add"), FORM).status_code == 302
    rule = LimitRule.objects.get()
    assert (rule.scope, rule.scope_id, rule.rpm, rule.enabled) == ("app", "", 60, True)
    assert rule.created_by.startswith("user:")
    changed = {"rpm": "", "tpm": "", "concurrency": "4"}
    assert admin_client.post(url("change", rule.id), changed).status_code == 302
    rule.refresh_from_db()
    assert (rule.rpm, rule.concurrency, rule.enabled) == (None, 4, False)
    assert admin_client.get(url("change", rule.id)).status_code == 200
    action = {"action": "delete_rules", "_selected_action": [rule.id]}
    assert admin_client.post(url("changelist"), action).status_code == 302
    assert not LimitRule.objects.exists()


@pytest.mark.parametrize("wrong", [{"rpm": ""}, {"rpm": "0"}, {"scope": "platform", "scope_id": "x"}])
def test_operators_mistake_is_shown_in_the_form(admin_client: Client, wrong: dict[str, str]) -> None:
    response = admin_client.post(url("add"), FORM | wrong, follow=True)
    assert response.status_code == 200
    assert "error" in response.text
    assert not LimitRule.objects.exists()


def test_operators_unknown_id_becomes_a_message(admin_client: Client) -> None:
    response = admin_client.post(url("add"), FORM | {"scope_id": "app_nobody"}, follow=True)
    assert "There is no such app." in response.text
    assert not LimitRule.objects.exists()


def test_operator_who_may_only_look_changes_nothing(client: Client) -> None:
    rule = create("app", rpm=1)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_limitrule"))
    client.force_login(viewer)
    assert client.get(url("changelist")).status_code == 200
    assert client.post(url("change", rule), FORM | {"rpm": "9"}).status_code == 403
    assert client.post(url("add"), FORM).status_code == 403
    client.post(url("changelist"), {"action": "delete_rules", "_selected_action": [rule]})
    assert LimitRule.objects.get().rpm == 1
