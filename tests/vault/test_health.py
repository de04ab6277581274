"""Regular checks of the shared keys: three failures put one out, a success brings it back."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from apps.core.models import PolicyEpoch
from apps.vault.models import CredentialHealth, ProviderCredential
from apps.vault.queries import down_credentials, shared_health
from apps.vault.services import disable_credential
from apps.vault.services.health import check_health
from apps.vault.tasks import check
from modelfaucet.celery import app
from tests.core.answering import Answering, answer
from tests.features.factories import ACTOR, NOW, make_developer
from tests.vault.factories import SECRET, make_credential, make_provider

pytestmark = pytest.mark.django_db
OK = answer(200, b'{"data": []}')
DEAD = answer(503, b"{}")
EVERY = timedelta(seconds=30)


@pytest.fixture
def server(settings: Settings) -> Iterator[Answering]:
    with Answering(OK) as running:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{running.port}",)
        make_provider("local", base_url=f"http://127.0.0.1:{running.port}/v1")
        yield running


def rounds(count: int, *, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        assert check_health(threshold=3, now=NOW + number * EVERY) == 1


def epoch() -> int:
    return PolicyEpoch.objects.get().number


def test_three_failures_put_a_key_out_and_the_first_success_brings_it_back(server: Answering) -> None:
    row = make_credential(provider="local")
    rounds(1)
    before = epoch()
    server.parts = (DEAD,)
    rounds(2, begin=1)
    assert not down_credentials()
    rounds(1, begin=3)
    assert down_credentials() == {row.id}
    health = CredentialHealth.objects.get()
    assert (health.consecutive_failures, health.result, health.http_status) == (3, "unclear", 503)
    assert health.changed_at == health.checked_at == NOW + 3 * EVERY
    # Gateways are told when it turns, and only then.
    assert epoch() == before + 1
    rounds(2, begin=4)
    assert epoch() == before + 1
    server.parts = (OK,)
    rounds(1, begin=6)
    assert not down_credentials()
    assert epoch() == before + 2
    health.refresh_from_db()
    assert (health.consecutive_failures, health.result, health.changed_at) == (0, "ok", NOW + 6 * EVERY)
    assert health.latency_ms is not None


def test_success_between_failures_begins_the_count_anew(server: Answering) -> None:
    make_credential(provider="local")
    for begin, said in enumerate((DEAD, DEAD, OK, DEAD, DEAD)):
        server.parts = (said,)
        rounds(1, begin=begin)
    assert not down_credentials()


@pytest.mark.parametrize(("status", "failures"), [(401, 1), (500, 1), (403, 0), (400, 0), (200, 0)])
def test_what_an_answer_says_of_health(server: Answering, status: int, failures: int) -> None:
    server.parts = (answer(status, b"{}"),)
    make_credential(provider="local")
    rounds(1)
    assert CredentialHealth.objects.get().consecutive_failures == failures


@pytest.mark.parametrize("status", [404, 429])
def test_answer_that_says_nothing_of_health_is_not_kept(server: Answering, status: int) -> None:
    server.parts = (answer(status, b"{}"),)
    make_credential(provider="local")
    rounds(1)
    assert not CredentialHealth.objects.exists()


def test_provider_out_of_reach_counts_as_failed(server: Answering) -> None:
    make_credential(provider="local")
    server.__exit__()
    rounds(3)
    (info,) = shared_health()
    assert (info.down, info.result, info.http_status, info.provider) == (True, "unreachable", None, "local")


def test_only_active_shared_keys_are_checked(server: Answering) -> None:
    make_credential(provider="local", owner_class="developer", owner_id=make_developer())
    gone = make_credential(provider="local")
    disable_credential(gone.id, now=NOW, actor=ACTOR)
    operators = make_credential(provider="local", owner_class="operator")
    rounds(1)
    assert list(CredentialHealth.objects.values_list("credential_id", flat=True)) == [operators.id]
    assert [info.credential_id for info in shared_health()] == [operators.id]
    assert SECRET not in repr(shared_health())


def test_longest_unchecked_come_first(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {make_credential(provider="local", label=name).id for name in "abc"}
    monkeypatch.setattr("apps.vault.services.health._BATCH", 1)
    rounds(3)
    assert set(CredentialHealth.objects.values_list("credential_id", flat=True)) == rows


def test_check_takes_the_same_queries_for_one_key_and_for_three(server: Answering) -> None:
    from django.test.utils import CaptureQueriesContext

    counts = []
    for more in (1, 2):
        for _ in range(more):
            make_credential(provider="local")
        check_health(threshold=3, now=NOW)
        with CaptureQueriesContext(connection) as captured:
            shared_health()
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_schedule_runs_the_check_every_half_minute(server: Answering) -> None:
    entry = app.conf.beat_schedule["vault.check_health"]
    assert entry["schedule"] == 30
    make_credential(provider="local")
    assert app.tasks[entry["task"]] is not None
    assert check() == 1
    assert CredentialHealth.objects.get().result == "ok"


def test_database_refuses_a_key_that_is_down_without_a_failure(server: Answering) -> None:
    row = make_credential(provider="local")
    assert ProviderCredential.objects.filter(pk=row.id).exists()
    with pytest.raises(IntegrityError), transaction.atomic():
        CredentialHealth.objects.create(credential=row, down=True, result="ok", checked_at=NOW, changed_at=NOW)
