"""Idempotency-Key: the same key and body is answered again, charged once, and nobody reads it from the database."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import connection

from apps.core.clock import now
from apps.gateway import replays
from apps.ledger.models import Hold
from apps.usage.models import IdempotencyRecord, UsageEvent
from apps.usage.services import idempotency
from apps.usage.services.sweeping import sweep_holds
from apps.usage.tasks import purge_idempotency
from tests.live import Server, World, wait_until
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import Answered, ask
from tests.settlement.proof import prove

whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(autouse=True)
def short_waits(settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.5
    settings.HOLD_LEASE = 0.9  # renewed at a third of it


@pytest.fixture(autouse=True)
def proven(short_waits: None, server: Server) -> Iterator[None]:
    yield
    prove(server)


def keyed(world: World, key: str, text: str = "Say hello", *, stream: bool = False, **body: Any) -> Answered:
    return ask(world, text, stream=stream, headers={"idempotency_key": key}, **body)


@whole_and_streamed
def test_same_key_and_body_is_answered_again_and_charged_once(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script("normal", Behaviour(text="something else"))
    first = keyed(world, "k1", stream=stream)
    again = keyed(world, "k1", stream=stream)
    assert again.status == first.status == 200
    assert again.raw == first.raw
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for name in ("x-request-id", "content-type", "x-modelfaucet-served-model", "x-modelfaucet-route-mode"):
        assert again.headers[name] == first.headers[name]
    assert again.price_usd == first.price_usd
    assert len(double.requests) == 1
    assert UsageEvent.objects.count() == 1


def test_keys_of_another_body_another_user_and_another_endpoint_are_apart(world: World, double: ProviderDouble) -> None:
    first = keyed(world, "k1", "one")
    other_body = keyed(world, "k1", "two")
    assert (other_body.status, other_body.error["code"]) == (409, "idempotency_key_reused")
    other_user = keyed(world.new_session(usd="1"), "k1", "one")
    assert (other_user.status, other_user.headers.get("idempotent-replayed")) == (200, None)
    other_key = keyed(world, "k2", "one")
    assert other_key.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(double.requests) == 3


def test_another_session_of_the_same_user_gets_the_same_answer(world: World, double: ProviderDouble) -> None:
    first = keyed(world, "k1")
    assert keyed(world.new_session("alice"), "k1").raw == first.raw
    assert len(double.requests) == 1


def test_virtual_keys_of_one_developer_are_apart(world: World, double: ProviderDouble) -> None:
    for _ in range(2):
        world.token = world.virtual_key(usd="1")
        assert keyed(world, "k1").headers.get("idempotent-replayed") is None
        assert keyed(world, "k1").headers["idempotent-replayed"] == "true"
    assert len(double.requests) == 2


def in_parallel(*calls: Any) -> list[Answered]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures: list[Future[Answered]] = [pool.submit(call) for call in calls]
        return [future.result() for future in futures]


@whole_and_streamed
def test_concurrent_repeats_wait_and_get_the_first_ones_answer(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(delay=0.4))
    answers = in_parallel(*[lambda: keyed(world, "k1", stream=stream)] * 4)
    assert [a.status for a in answers] == [200] * 4
    assert len({a.raw for a in answers}) == 1
    assert sorted(a.headers.get("idempotent-replayed", "") for a in answers) == ["", "true", "true", "true"]
    assert len(double.requests) == 1


def test_repeat_of_a_call_that_takes_long_is_told_so(
    world: World, double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "DUPLICATE_WAIT", 0.2)
    double.script(Behaviour(delay=0.8))

    def late() -> Answered:
        double.wait_for(lambda: double.requests)
        return keyed(world, "k1")

    first, second = in_parallel(lambda: keyed(world, "k1"), late)
    assert first.status == 200
    assert (second.status, second.error["code"]) == (409, "idempotency_in_progress")
    assert second.headers["retry-after"]
    assert len(double.requests) == 1


@whole_and_streamed
@pytest.mark.parametrize("how", ["empty", "finish-error"])
def test_free_answer_is_kept_too(world: World, double: ProviderDouble, stream: bool, how: str) -> None:
    double.script(how)
    first = keyed(world, "k1", stream=stream)
    assert keyed(world, "k1", stream=stream).raw == first.raw
    assert len(double.requests) == 1


def test_key_of_a_refused_call_is_free_again(world: World, double: ProviderDouble) -> None:
    poor = world.new_session()
    assert keyed(poor, "k1").status == 402
    poor.fund("1")
    assert keyed(poor, "k1").status == 200


@whole_and_streamed
@pytest.mark.parametrize(
    ("how", "status"), [("status-500", 502), ("status-400", 400), ("rate-limited", 429), ("close-before", 502)]
)
def test_key_of_a_failed_call_is_free_again(
    world: World, double: ProviderDouble, stream: bool, how: str, status: int
) -> None:
    double.script(how)
    assert keyed(world, "k1", stream=stream).status == status
    again = keyed(world, "k1", stream=stream)
    assert (again.status, again.text) == (200, TEXT)
    assert again.headers.get("idempotent-replayed") is None


def test_key_of_a_stream_that_failed_in_the_middle_is_free_again(world: World, double: ProviderDouble) -> None:
    double.script("close-within")
    assert keyed(world, "k1", stream=True).error["code"] == "provider_broke_off"
    again = keyed(world, "k1", stream=True)
    assert (again.done, again.text) == (True, TEXT)
    assert UsageEvent.objects.filter(charged=True).count() == 1


def _leave(world: World, key: str, after: float) -> None:
    with httpx.stream(
        "POST",
        f"{world.base_url}/v1/chat/completions",
        content=json.dumps(world.body("Say hello", stream=True)),
        headers=world.headers(idempotency_key=key, content_type="application/json"),
    ) as response:
        next(response.iter_raw())
        time.sleep(after)


def test_client_that_left_gets_with_its_key_what_it_paid_for(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=15, interval=0.02))
    _leave(world, "k1", after=0.05)
    again = keyed(world, "k1", stream=True)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.done
    assert again.text == double.requests[0].text
    assert world.event().outcome == "client_left"


def test_call_cut_short_is_charged_once_and_its_key_says_so(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=500, interval=0.02))
    _leave(world, "k1", after=0.2)
    again = keyed(world, "k1", stream=True)
    assert (again.status, again.error["code"]) == (409, "idempotency_answer_not_kept")
    event = world.event()
    assert (event.outcome, event.charged) == ("client_left", True)
    assert event.request_id in again.error["message"]


@whole_and_streamed
def test_answer_too_long_to_keep_is_charged_once_and_the_key_says_so(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(chunks=30, chunk_bytes=40_000))
    assert keyed(world, "k1", stream=stream).status == 200
    again = keyed(world, "k1", stream=stream)
    assert (again.status, again.error["code"]) == (409, "idempotency_answer_not_kept")
    assert len(double.requests) == 1
    assert IdempotencyRecord.objects.get().body in (None, b"")


def test_key_of_a_dead_process_is_taken_over(world: World, double: ProviderDouble) -> None:
    claimed = _claim_as_another_process(world, "k1")
    IdempotencyRecord.objects.update(lease_until=now() - timedelta(seconds=1))
    answered = keyed(world, "k1")
    assert answered.status == 200
    assert IdempotencyRecord.objects.get().request_id == answered.headers["x-request-id"] != claimed


def test_key_of_a_running_process_is_not_taken_over(
    world: World, double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "DUPLICATE_WAIT", 0.1)
    _claim_as_another_process(world, "k1")
    assert keyed(world, "k1").error["code"] == "idempotency_in_progress"
    assert double.requests == []


def _claim_as_another_process(world: World, key: str) -> str:
    body = json.dumps(world.body("Say hello", stream=False)).encode()
    parameters = idempotency.read_key(
        key, scope=world.end_user_id, endpoint="chat.completions:default", body=body
    ).claim_parameters("req_of_a_dead_process", lease=60, ttl=60)
    with connection.cursor() as cursor:
        cursor.execute(idempotency.CLAIM, parameters)
        (claimed,) = cursor.fetchone()
    return str(claimed)


def test_leases_of_a_long_call_are_renewed(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(delay=1.7))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: keyed(world, "k1"))
        wait_until(lambda: IdempotencyRecord.objects.exists())
        time.sleep(1.2)
        assert not first.done()
        record, hold = IdempotencyRecord.objects.get(), Hold.objects.get()
        assert min(record.lease_until, hold.expires_at) > now()
        assert sweep_holds(now=now()) == 0
        assert first.result().status == 200


def test_expired_answers_are_forgotten(world: World, double: ProviderDouble) -> None:
    keyed(world, "old")
    IdempotencyRecord.objects.update(expires_at=now() - timedelta(seconds=1))
    keyed(world, "new")
    assert purge_idempotency() == 1
    assert IdempotencyRecord.objects.count() == 1
    assert keyed(world, "old").headers.get("idempotent-replayed") is None


def test_key_past_its_time_is_new_even_before_it_is_purged(world: World, double: ProviderDouble) -> None:
    keyed(world, "k1", "one")
    IdempotencyRecord.objects.update(expires_at=now() - timedelta(seconds=1))
    assert keyed(world, "k1", "two").status == 200


CANARY = "xyzzy-canary-prompt"
ANSWER = "xyzzy-canary-answer"


@whole_and_streamed
def test_no_prompt_no_answer_and_no_key_is_readable_in_the_database(
    world: World, double: ProviderDouble, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    double.script(Behaviour(text=f"{ANSWER} and more"), "status-400", "close-within", "usage-missing")
    bodies = {"user": CANARY, "metadata": {"canary": CANARY}, "tools": [{"function": {"name": CANARY}}]}
    assert ANSWER in keyed(world, "xyzzy-canary-key", CANARY, stream=stream, **bodies).text
    for number in range(3):
        keyed(world, f"xyzzy-canary-key-{number}", CANARY, stream=stream, **bodies)
    keyed(world, "xyzzy-canary-key", f"{CANARY} again", stream=stream)
    ask(world.new_session(), CANARY, stream=stream)
    ask(world, CANARY, stream=stream, model=f"{CANARY}-model")
    assert IdempotencyRecord.objects.exclude(body=None).exists()
    found = {where: dump for where, dump in _dump_of_every_table() if b"xyzzy" in dump or world.token.encode() in dump}
    assert found == {}
    assert "xyzzy" not in caplog.text


def _dump_of_every_table() -> Iterator[tuple[str, bytes]]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} t")  # noqa: S608
            for (row,) in cursor.fetchall():
                yield f"{table}: {row[:100]}", row.encode()
        cursor.execute("SELECT body FROM idempotency_records WHERE body IS NOT NULL")
        for (body,) in cursor.fetchall():
            yield "idempotency_records.body", bytes(body)
