"""What is fit to be kept, and which call may have it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from apps.gateway.cache.entries import MAX_BYTES, Entry, decode, entry_of
from apps.gateway.cache.keys import MAX_REQUEST, answer_key, is_small
from apps.gateway.outcomes import Verdict
from apps.gateway.routing import Target, make_target
from apps.gateway.wire import parse_chat
from apps.usage.models import Outcome
from apps.usage.rate import BYOK, DEVELOPER_KEY, LOCAL, PLATFORM, Tokens
from tests.gateway import routing_factories as make

FINISHED = Verdict(Outcome.FINISHED, True, Tokens(input=1, cache_read=2, cache_write=3, output=4, reasoning=1), False)


def target(provider: str = "one", *, mode: str = PLATFORM, **changed: Any) -> Target:
    return replace(make_target(make.offer(provider), make.credential(provider), mode), **changed)


def kept(**changed: Any) -> Entry | None:
    values = {"body": b"{}", "target": target(), "verdict": FINISHED, "finish_reason": "stop", "shortened": False}
    return entry_of(**{**values, **changed})


def test_whole_answer_is_kept_with_what_receipts_say() -> None:
    entry = kept()
    assert entry is not None
    assert decode(entry.encode()) == entry
    assert (entry.provider, entry.model, entry.counted) == ("one", "one-m", FINISHED.tokens)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "function_call"])
def test_reasons_that_end_an_answer(reason: str) -> None:
    assert kept(finish_reason=reason) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"finish_reason": "content_filter"},
        {"finish_reason": "error"},
        {"finish_reason": None},
        {"finish_reason": "length", "shortened": True},
        {"body": b"x" * (MAX_BYTES + 1)},
        {"verdict": msgspec.structs.replace(FINISHED, charged=False)},
        {"verdict": msgspec.structs.replace(FINISHED, outcome=Outcome.EMPTY)},
        {"target": target(degraded=True)},
        {"target": target(mode=BYOK)},
        {"target": target(mode=LOCAL)},
    ],
)
def test_what_is_unfit_for_others_is_not_kept(changed: dict[str, Any]) -> None:
    assert kept(**changed) is None


def test_answer_goes_only_where_what_made_it_may_be_called() -> None:
    entry = kept()
    assert entry is not None
    wanted = target(mode=DEVELOPER_KEY)
    assert entry.target_among((target("two"), wanted, target())) is wanted
    assert entry.target_among((target("two"),)) is None
    assert entry.target_among((target(mode=BYOK), target(degraded=True))) is None


def test_what_another_version_stored_is_nothing() -> None:
    assert decode(b"") is decode(b"\xff\xff") is decode(msgspec.msgpack.encode([b"{}", "one"])) is None


def test_large_requests_are_not_compared() -> None:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": "x" * MAX_REQUEST}]})
    assert not is_small(parse_chat(body))
    assert is_small(parse_chat(b'{"messages":[{"role":"user","content":"x"}]}'))


@pytest.mark.parametrize(
    "changed",
    [
        {"app_id": "app_2"},
        {"feature_key": "other"},
        {"manifest_id": "man_2"},
        {"max_output_tokens": 99},
    ],
)
def test_key_is_of_one_feature_and_one_manifest(changed: dict[str, Any]) -> None:
    request = parse_chat(b'{"messages":[{"role":"user","content":"x"}]}')
    principal = make.principal()
    decision = make.decide(make.table(make.offer()))
    key = answer_key(request, principal, decision)
    assert key is not None
    assert key == answer_key(request, replace(principal, id="sess_2", end_user_id="usr_2"), decision)
    assert key != answer_key(request, replace(principal, **changed), decision)
    assert key != answer_key(request, principal, replace(decision, policy="quality_first"))
    assert key != answer_key(request, principal, replace(decision, model="n"))
