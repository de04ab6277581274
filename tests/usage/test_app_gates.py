"""What an app lacks before strangers use it, as the console and the command tell it."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.core.clock import now
from apps.core.errors import NotFound
from apps.features.services.apps import disable_app, set_app_terms, update_app
from apps.features.services.terms import TermsInput
from apps.usage.app_gates import app_gates
from apps.usage.services.limits import update_limit_rule
from tests.live import ACTOR
from tests.usage.factories import Desk, make_desk

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(db: None) -> Desk:
    return make_desk()


def missing(desk: Desk) -> list[str]:
    return [gate.key for gate in app_gates(desk.world.app_id) if not gate.met]


def test_gates_are_met_one_by_one(desk: Desk) -> None:
    app_id = desk.world.app_id
    assert missing(desk) == ["origins", "rate_limit", "manifest"]
    update_app(app_id=app_id, allowed_origins=["https://example.com"], now=now(), actor=ACTOR)
    desk.world.manifest(description="Diary")
    rule = desk.world.limit("app", app_id, rpm=60)
    assert missing(desk) == []
    update_limit_rule(rule, enabled=False, now=now(), actor=ACTOR)
    assert missing(desk) == ["rate_limit"]
    desk.world.limit("app", rpm=600)
    assert missing(desk) == []
    disable_app(app_id=app_id, now=now(), actor=ACTOR)
    set_app_terms(app_id=app_id, terms=TermsInput(), now=now(), actor=ACTOR)
    assert missing(desk) == ["status", "markup", "share"]
    set_app_terms(app_id=app_id, terms=TermsInput(platform_pricing="fixed", fixed_price=1), now=now(), actor=ACTOR)
    assert missing(desk) == ["status", "share"]


def test_command_names_what_is_missing_and_fails(desk: Desk) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="missing: origins, rate_limit, manifest"):
        call_command("app_gates", desk.world.app_id, stdout=out)
    assert "ok       status" in out.getvalue() and "missing  origins" in out.getvalue()
    update_app(app_id=desk.world.app_id, allowed_origins=["https://example.com"], now=now(), actor=ACTOR)
    desk.world.manifest(description="Diary")
    desk.world.limit("app", rpm=600)
    call_command("app_gates", desk.world.app_id, stdout=StringIO())


def test_unknown_app_is_refused(db: None) -> None:
    with pytest.raises(NotFound):
        app_gates("app_none")
    with pytest.raises(CommandError, match="no such app"):
        call_command("app_gates", "app_none")
