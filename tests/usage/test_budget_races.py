"""A hard budget under many calls at once: two processes, each with the gateway's own committer."""

import asyncio
import json
import subprocess
import sys

import msgspec
import pytest
from django.db import connection

from apps.gateway.writers import connection_parameters, open_writers
from apps.usage.models import BudgetUse
from apps.usage.rate import Tokens
from apps.usage.services.settle import Settlement
from tests.live import differences, rate_all
from tests.usage.budgeting import ask, budget, state
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db(transaction=True)

CALLER = """
import asyncio, json, sys
import django
django.setup()
from apps.gateway.writers import connection_parameters, open_writers
from apps.usage.services.admit import BudgetedHold
import msgspec

async def main(parameters):
    holds, settlements = open_writers(parameters)
    requests = msgspec.json.decode(sys.stdin.readline(), type=list[BudgetedHold])
    print("ready", flush=True)
    sys.stdin.readline()
    results = await asyncio.gather(*[holds.submit_budgeted(request) for request in requests])
    await settlements.close()
    await holds.close()
    print(json.dumps([request.request_id for request, result in zip(requests, results) if result.taken]), flush=True)

asyncio.run(main(connection_parameters()))
"""


def test_budget_for_ten_lets_ten_of_a_hundred_through_over_two_processes(
    process_environment: dict[str, str],
) -> None:
    desk = make_desk()
    other = Desk(desk.world.new_session("bob", usd="10"))
    price = desk.charge(Tokens(input=100, output=20)).price
    of_app, of_user = (
        budget(desk, price * 10),
        budget(desk, 10**12, scope="developer", scope_id=desk.world.developer_id),
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CALLER],
            env=process_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for number, process in enumerate(processes):
        # The budgets in both orders: locks are taken in one.
        order = (of_app, of_user) if number else (of_user, of_app)
        requests = [ask((desk, other)[n % 2], price, *order) for n in range(50)]
        write(process, msgspec.json.encode(requests).decode())
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        write(process, "go")
    taken = [request_id for process in processes for request_id in json.loads(process.communicate(timeout=60)[0])]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(taken) == 10
    assert sorted(BudgetUse.objects.filter(budget=of_app).values_list("request_id", flat=True)) == sorted(taken)
    assert (state(of_app).reserved, state(of_app).remaining) == (price * 10, 0)
    assert differences() == []

    payers = {payer.world.account_id: payer for payer in (desk, other)}
    settle(*[payers[account_of(request_id)].record(request_id) for request_id in taken])
    rate_all()
    assert (state(of_app).spent, state(of_app).reserved, state(of_user).spent) == (price * 10, 0, price * 10)
    assert differences() == []


def test_a_call_that_follows_an_answer_finds_what_it_freed() -> None:
    desk = make_desk()
    worst = 4_000_000_000
    of_app = budget(desk, 5_000_000_000)
    parameters = connection_parameters()
    requests = [ask(desk, worst, of_app) for _ in range(20)]
    records = [desk.record(request.request_id) for request in requests]

    async def one_after_the_other() -> list[str]:
        holds, settlements = open_writers(parameters)
        outcomes = []
        for request, record in zip(requests, records, strict=True):
            outcomes.append((await holds.submit_budgeted(request)).outcome)
            await settlements.submit(Settlement(record))
        await settlements.close()
        await holds.close()
        return outcomes

    assert asyncio.run(one_after_the_other()) == ["granted"] * 20
    assert (state(of_app).reserved, desk.world.balance().held) == (0, sum(record.price_nano for record in records))


def account_of(request_id: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT account_id FROM holds WHERE request_id = %s", [request_id])
        return int(cursor.fetchone()[0])


def write(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
