"""Funds are held before a provider is called: concurrent calls never spend more than there is."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import features_of_app
from apps.features.services.features import update_feature
from apps.ledger.models import AccountKind, Hold
from apps.ledger.queries import account_id, balance
from apps.usage.models import UsageEvent
from tests.live import ACTOR, World, rate_all, wait_until
from tests.provider_answers import Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import Answered, ask

CALLS = 40
SLOW = Behaviour(delay=0.15)


def estimate(world: World, text: str = "Say hello", **body: Any) -> dict[str, Any]:
    response = httpx.post(f"{world.base_url}/v1/estimate", json=world.body(text, **body), headers=world.headers())
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def fund_exactly(world: World, calls: int = 1, text: str = "Say hello", **body: Any) -> int:
    """Fund for this many worst cases and return one in nano-USD."""
    most = nano_from_usd(estimate(world, text, **body)["max_price_usd"])
    world.fund(str(Decimal(most * calls).scaleb(-9)))
    return most


def ask_at_once(world: World, number: int = CALLS, **more: Any) -> list[Answered]:
    with ThreadPoolExecutor(number) as pool:
        calls = [pool.submit(lambda: ask(world, stream=False, **more)) for _ in range(number)]
        return [call.result() for call in calls]


def assert_refusals_cost_nothing(answers: list[Answered], served: int) -> None:
    refused = [a for a in answers if a.status != 200]
    assert len(answers) - len(refused) == served
    for answer in refused:
        assert (answer.status, answer.error["code"], answer.error["type"]) == (
            402,
            "insufficient_funds",
            "insufficient_quota",
        )
        assert not Hold.objects.filter(request_id=answer.headers["x-request-id"]).exists()
        assert not UsageEvent.objects.filter(request_id=answer.headers["x-request-id"]).exists()


@pytest.mark.parametrize("off_by", ["feature", "header"])
def test_funds_for_one_worst_case_let_one_call_through_at_a_time(
    world: World, double: ProviderDouble, off_by: str
) -> None:
    more: dict[str, Any] = {}
    if off_by == "feature":
        feature = features_of_app(world.app_id)[0]
        update_feature(feature_id=feature.id, affordable_clamp=False, now=now(), actor=ACTOR)
        time.sleep(0.3)
    else:
        more["headers"] = {"x_modelfaucet_clamp": "off"}
    user = world.new_session()
    most = fund_exactly(user)
    double.default = SLOW
    answers = ask_at_once(user, **more)
    assert double.max_in_flight == 1
    assert len(double.requests) == 1
    assert_refusals_cost_nothing(answers, served=1)
    details = next(a for a in answers if a.status == 402).error["details"]
    assert nano_from_usd(details["max_price_usd"]) == most
    assert nano_from_usd(details["available_usd"]) < most
    assert 0 <= user.balance().available < most
    rate_all()
    assert 0 <= user.balance().posted < most


def test_funds_for_seven_let_seven_through(settings: Any, world: World, double: ProviderDouble) -> None:
    settings.FIRST_BYTE_TIMEOUT = 60  # the seven are answered when the others have been refused
    user = world.new_session()
    fund_exactly(user, calls=7)
    double.default = Behaviour(fail="stall-before")
    with ThreadPoolExecutor(CALLS) as pool:
        unclamped = {"x_modelfaucet_clamp": "off"}
        calls = [pool.submit(lambda: ask(user, stream=False, headers=unclamped)) for _ in range(CALLS)]
        wait_until(lambda: sum(call.done() for call in calls) == CALLS - 7)
        double.release()
        answers = [call.result() for call in calls]
    assert_refusals_cost_nothing(answers, served=7)
    assert double.max_in_flight == 7
    rate_all()
    assert user.balance().posted >= 0


def test_free_answers_leave_the_funds_for_the_next_call(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    fund_exactly(user)
    double.default = Behaviour(usage="zero", delay=0.01)
    for _ in range(3):
        assert ask(user, stream=True, headers={"x_modelfaucet_clamp": "off"}).status == 200
    answers = ask_at_once(user, headers={"x_modelfaucet_clamp": "off"})
    assert double.max_in_flight == 1
    assert {a.status for a in answers} <= {200, 402}


def test_clamp_shortens_answers_to_the_funds_and_never_overdraws(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    most = fund_exactly(user)
    double.default = Behaviour(text="word " * 20, delay=0.02, prompt_tokens=5)
    lowest = most
    served: list[Answered] = []
    for _ in range(12):
        answers = ask_at_once(user, 5)
        served += [a for a in answers if a.status == 200]
        rate_all()
        lowest = min(lowest, user.balance().posted, user.balance().available)
        if all(a.status == 402 for a in answers):
            break
    assert lowest >= 0
    shortened = [a for a in served if "x-modelfaucet-output-cap" in a.headers]
    assert shortened
    asked = {int(r.body["max_tokens"]) for r in double.requests}
    for answer in served:
        cap = answer.headers.get("x-modelfaucet-output-cap")
        assert answer.event().output_cap == (int(cap) if cap else None)
        assert int(cap or 1_000) in asked
    assert min(asked) < 1_000
    assert min(asked) >= 16


def test_shortened_answer_uses_what_is_there_to_the_last_token(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    quote = estimate(user)
    output = 15_000 * 14 // 10  # nano-USD a token, marked up
    user.fund(str(Decimal(nano_from_usd(quote["max_price_usd"]) - 900 * output - 5).scaleb(-9)))
    double.default = Behaviour(prompt_tokens=quote["prompt_tokens"], completion_tokens=99, finish_reason="length")
    answered = ask(user, stream=True)
    assert answered.status == 200
    assert double.requests[0].body["max_tokens"] == 99
    assert answered.headers["x-modelfaucet-output-cap"] == "99"
    assert answered.event().output_cap == 99
    rate_all()
    # Left is what the prompt cost less than a cache write would have.
    assert 0 <= user.balance().posted < output + quote["prompt_tokens"] * 750 * 14 // 10


def test_several_choices_share_what_is_affordable(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    quote = estimate(user, n=3)
    assert quote["max_output_tokens"] == 3_000
    output = 15_000 * 14 // 10
    user.fund(str(Decimal(nano_from_usd(quote["max_price_usd"]) - 2_700 * output).scaleb(-9)))
    answered = ask(user, stream=False, n=3)
    assert answered.status == 200
    assert double.requests[0].body["max_tokens"] == 100
    assert (double.requests[0].body["n"], answered.headers["x-modelfaucet-output-cap"]) == (3, "100")


def test_answer_too_short_to_be_of_use_is_refused(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    quote = estimate(user)
    output = 15_000 * 14 // 10
    user.fund(str(Decimal(nano_from_usd(quote["max_price_usd"]) - 985 * output).scaleb(-9)))
    assert ask(user, stream=False).status == 402
    assert ask(user, stream=False, max_tokens=15).status == 200
    assert len(double.requests) == 1


def test_cap_of_the_feature_is_flagged_where_more_was_asked(world: World, double: ProviderDouble) -> None:
    answered = ask(world, stream=False, max_tokens=5_000)
    assert double.requests[0].body["max_tokens"] == 1_000
    assert answered.headers["x-modelfaucet-output-cap"] == "1000"
    assert answered.event().output_cap is None
    answered = ask(world, stream=False, max_tokens=500)
    assert double.requests[1].body["max_tokens"] == 500
    assert "x-modelfaucet-output-cap" not in answered.headers
    ask(world, stream=False)
    assert double.requests[2].body["max_tokens"] == 1_000


@pytest.mark.parametrize("text", ["word " * 30_000, "你好世界 " * 8_000], ids=["ascii", "chinese"])
def test_long_prompt_is_counted_where_its_bound_would_be_refused(
    world: World, double: ProviderDouble, text: str
) -> None:
    user = world.new_session()
    most = fund_exactly(user, text=text)
    assert most < len(text.encode()) * 3_000 * 14 // 10  # far below a token a byte
    double.default = Behaviour(usage="zero")
    answered = ask(user, text, stream=False, headers={"x_modelfaucet_clamp": "off"})
    assert answered.status == 200
    assert "x-modelfaucet-output-cap" not in answered.headers
    assert ask(user, text + " and more words", stream=False, headers={"x_modelfaucet_clamp": "off"}).status == 402
    assert ask(user, text + " and more words", stream=False).headers["x-modelfaucet-output-cap"]


def test_estimate_says_what_would_be_held_and_spends_nothing(world: World, double: ProviderDouble) -> None:
    user = world.new_session()
    quote = estimate(user, "Say hello", max_tokens=10)
    assert quote == {
        "object": "estimate",
        "model": "test-model",
        "route_mode": "platform",
        "prompt_tokens": quote["prompt_tokens"],
        "max_output_tokens": 10,
        "max_price_usd": quote["max_price_usd"],
        "currency": "usd",
    }
    # The dearest a prompt token can be is a cache write.
    weight = quote["prompt_tokens"] * 3_750 + 10 * 15_000
    assert nano_from_usd(quote["max_price_usd"]) == (weight * 14 + 5) // 10
    assert double.requests == []
    assert Hold.objects.count() == 0


def test_virtual_key_spends_its_developers_credit(world: World, double: ProviderDouble) -> None:
    user = World(base_url=world.base_url, token=world.virtual_key())
    assert ask(user, stream=False).status == 402
    user.token = world.virtual_key(usd="1")
    answered = ask(user, stream=True)
    assert answered.done
    event = answered.event()
    assert (event.end_user_id, event.principal_id[:4]) == (None, "key_")
    rate_all()
    credit = account_id(AccountKind.DEVELOPER_CREDIT, world.developer_id)
    assert credit is not None
    assert balance(credit).posted == 1_000_000_000 - event.price_nano


def test_default_model_is_used_where_none_is_named(world: World, double: ProviderDouble) -> None:
    content = b'{"messages": [{"role": "user", "content": "Hello"}]}'
    answered = ask(world, stream=False, content=content)
    assert answered.event().requested_model == "test-model"
    assert double.requests[0].body["model"] == "test-model"
