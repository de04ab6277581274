"""Budgets over the running gateway: hard ones are never exceeded, soft ones never refuse."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.terms import TermsInput
from apps.usage.budgets.queries import budget_state, owned_budgets
from apps.usage.models import Alert
from apps.usage.services.budgets import create_budget, disable_budget
from apps.usage.services.caps import set_cap
from apps.vault.queries import load_shared_credentials
from apps.vault.services import rotate_credential
from tests.crash.conftest import fast_environment
from tests.crash.processes import House
from tests.live import ACTOR, World, make_world, rate_all
from tests.provider_double import ProviderDouble
from tests.routes.conftest import Notice

CALLS, COVERED = 100, 10
FIXED = TermsInput(platform_pricing="fixed", fixed_price=nano_from_usd("0.01"))


def budget(scope: str, scope_id: str, amount: int, **more: Any) -> str:
    return create_budget(scope=scope, scope_id=scope_id, period="month", amount=amount, now=now(), actor=ACTOR, **more)


@pytest.mark.parametrize("scope", ["developer", "app", "feature", "end_user"])
def test_hard_budget_refuses_what_it_does_not_cover(
    world: World, double: ProviderDouble, noticed: Notice, scope: str
) -> None:
    ids = {"developer": world.developer_id, "app": world.app_id, "end_user": world.end_user_id}
    made = budget(scope, ids.get(scope, f"{world.app_id}/default"), 1_000)
    noticed()
    answer = world.chat()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (402, "budget_exceeded")
    assert int(answer.headers["retry-after"]) > 0
    assert error["details"]["scope"] == scope
    assert double.requests == []
    assert world.balance().held == 0
    disable_budget(made, now=now(), actor=ACTOR)
    noticed()
    assert world.chat().status_code == 200


def test_soft_budget_only_tells(world: World, double: ProviderDouble, noticed: Notice) -> None:
    made = budget("app", world.app_id, 1, hard=False)
    noticed()
    answer = world.chat()
    assert answer.status_code == 200
    price = world.event(answer).price_nano
    rate_all()
    state = budget_state(made, now=now())
    assert state is not None
    assert (state.spent, state.reserved) == (price, 0)
    assert sorted(Alert.objects.values_list("threshold", flat=True)) == [80, 95]


def test_answer_is_shortened_to_what_a_budget_leaves(world: World, double: ProviderDouble, noticed: Notice) -> None:
    budget("app", world.app_id, nano_from_usd("0.003"))
    noticed()
    answer = world.chat(max_tokens=1_000)
    assert answer.status_code == 200
    cap = int(answer.headers["x-modelfaucet-output-cap"])
    assert 16 <= cap < 1_000
    assert double.requests[0].body["max_tokens"] == cap


def test_key_whose_budget_is_spent_gives_way_to_the_next(world: World, double: ProviderDouble, noticed: Notice) -> None:
    other = world.key("platform", "sk-other", priority=200)
    (first,) = [target for target in _credentials() if target != other]
    budget("credential", first, 1_000)
    noticed()
    answer = world.chat()
    assert answer.status_code == 200
    assert double.keys_used() == ["sk-other"]
    event = world.event(answer)
    assert event.credential_id == other
    assert event.routing is not None
    assert [each["reason"] for each in event.routing["rejected"]] == ["budget_exceeded"]
    budget("credential", other, 1_000)
    noticed()
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["details"]["scope"]) == (402, "credential")
    assert len(double.requests) == 1


def test_end_users_key_whose_budget_is_spent_gives_way_to_the_platforms(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    """Also after the key was rotated: the same budget goes on."""
    world.manifest(routing={"policy": "byok_first"})
    world.acknowledge()
    users = world.key("end_user", "sk-theirs", priority=1)
    noticed()
    first = world.chat()
    assert (first.status_code, double.keys_used()) == (200, ["sk-theirs"])
    event = world.event(first)
    assert event.provider_bill_nano > 0
    made = set_users_cap(world, users, 10 * nano_from_usd("1"))
    noticed()
    second = world.chat()
    assert double.keys_used()[-1] == "sk-theirs"
    rate_all()
    spent = world.event(second).provider_bill_nano
    assert _spent(made) == spent > 0

    users = rotate_credential(users, secret="sk-newer", now=now(), actor=ACTOR)
    noticed()
    third = world.chat()
    assert (third.headers["x-modelfaucet-route-mode"], double.keys_used()[-1]) == ("byok", "sk-newer")
    rate_all()
    assert _spent(made) == 2 * spent

    set_users_cap(world, users, 2 * spent + 1)
    noticed()
    for served in (world.chat(), world.chat(stream=True)):
        assert served.status_code == 200
        assert (served.headers["x-modelfaucet-route-mode"], double.keys_used()[-1]) == ("platform", "sk-double-0")
        rejected = (world.event(served).routing or {})["rejected"]
        assert [each["reason"] for each in rejected if each["mode"] == "byok"] == ["budget_exceeded"]
    rate_all()
    assert _spent(made) == 2 * spent

    world.manifest(routing={"policy": "byok_first", "platform_fallback": False})
    noticed()
    before = len(double.requests)
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["details"]["scope"]) == (402, "credential")
    assert len(double.requests) == before


def test_end_users_own_limit_refuses_their_calls_alone(world: World, double: ProviderDouble, noticed: Notice) -> None:
    user = world.end_user_id
    set_cap("end_user", user, "day", 1_000, end_user_id=user, now=now(), actor=ACTOR)
    noticed()
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    assert world.new_session("bob", usd="1").chat().status_code == 200
    set_cap("end_user", user, "day", None, end_user_id=user, now=now(), actor=ACTOR)
    noticed()
    assert world.chat().status_code == 200


def set_users_cap(world: World, credential: str, amount: int) -> str:
    """Have the end user's key be billed `amount` a month at most, and return the budget's id."""
    user = world.end_user_id
    set_cap("credential", credential, "month", amount, end_user_id=user, now=now(), actor=ACTOR)
    (budget,) = owned_budgets("credential", [credential], end_user_id=user, now=now())
    return budget.id


def _spent(budget_id: str) -> int:
    state = budget_state(budget_id, now=now())
    assert state is not None
    assert state.reserved == 0
    return state.spent


def _credentials() -> list[str]:
    return [credential.id for credential in load_shared_credentials()]


def test_hard_budget_holds_over_two_processes(
    settings: Any,
    process_environment: dict[str, str],
    redis_url: str,
    double: ProviderDouble,
    tmp_path: Path,
) -> None:
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
    environment = {**fast_environment(process_environment, double), "REDIS_URL": redis_url, "WEB_PROCESSES": "2"}
    world = make_world("", double.base_url, terms=FIXED)
    made = budget("end_user", world.end_user_id, COVERED * FIXED.fixed_price)
    with House(environment, tmp_path) as house:
        servers = [house.server(f"server-{number}", wait=False) for number in range(2)]
        for server in servers:
            server.wait_until_ready()
        urls = cycle(server.base_url for server in servers)

        def call(base_url: str) -> int:
            body, headers = world.body("hello"), world.headers()
            return httpx.post(f"{base_url}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code

        with ThreadPoolExecutor(CALLS) as pool:
            statuses = Counter(pool.map(call, [next(urls) for _ in range(CALLS)]))
        assert statuses == {200: COVERED, 402: CALLS - COVERED}
        assert len(double.requests) == COVERED
        assert house.manage("sweep", "--once").returncode == 0
        house.verify_ledger()
    state = budget_state(made, now=now())
    assert state is not None
    assert (state.spent, state.reserved, state.remaining) == (COVERED * FIXED.fixed_price, 0, 0)
