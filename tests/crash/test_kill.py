"""kill -9 of the server, the rating worker and PostgreSQL at random moments under load: the books still balance.

What each client wrote down is compared with what it was charged. CRASH_ROUNDS=20 makes it a soak of 20 times the
kills, CRASH_SEED=n repeats the moments of an earlier run (the load on the machine is never the same).
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from modelfaucet import embedded
from tests.crash.conftest import SOAK, fast_environment
from tests.crash.load import Load, Told
from tests.crash.processes import ROOT, Child, House, WebServer, seed
from tests.live import MODEL, wait_until
from tests.provider_double import ProviderDouble

SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
USERS = 6
FUNDS_USD = "50"
# Below SETTLE_TIMEOUT, for which an answer waits to be stored.
OUTAGE_SECONDS = 11
# Of each thing, once a round. "backend" is one of PostgreSQL's processes, after which it recovers by itself.
VICTIMS = ("server", "sweeper", "postgres", "backend")
ROUNDS = 3 * SOAK
HOLDER = """
import sys
from pathlib import Path
from modelfaucet import embedded
print(embedded.database_url(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class Database:
    """An embedded PostgreSQL of this test's own, as durable as in a real installation."""

    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir
        self.holders: list[subprocess.Popen[str]] = []

    def start(self) -> str:
        """Start the server on the data that is there and return its URL."""
        command = [sys.executable, "-c", HOLDER, str(self.var_dir)]
        holder = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.holders.append(holder)
        assert holder.stdout is not None
        url = holder.stdout.readline().strip()
        assert url, "the embedded PostgreSQL does not start"
        return url

    def kill(self) -> None:
        """Kill the postmaster; what it had not written to disk is lost with its processes."""
        pid = int((self.var_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not embedded.is_kept(self.var_dir), 30)

    def end(self) -> None:
        for holder in self.holders:
            holder.communicate("")
        wait_until(lambda: not embedded.is_kept(self.var_dir), 30)


@pytest.fixture
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="mf-crash-", ignore_cleanup_errors=True) as directory:
        database = Database(Path(directory))
        yield database
        database.end()


@pytest.fixture
def crash_house(database: Database, double: ProviderDouble, tmp_path: Path) -> Iterator[House]:
    environment = {
        **fast_environment(dict(os.environ), double),
        "VAR_DIR": str(database.var_dir),
        "DATABASE_URL": database.start(),
        "REDIS_URL": "",
        "DJANGO_SETTINGS_MODULE": "modelfaucet.settings",
    }
    with House(environment, tmp_path) as house:
        assert house.rows("SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [("on", "on")]
        run = house.manage("migrate", "--verbosity", "0")
        assert run.returncode == 0, run.stderr
        yield house


class Victims:
    """What is killed and started again."""

    def __init__(self, house: House, database: Database, dice: random.Random) -> None:
        self.house = house
        self.database = database
        self.dice = dice
        self.server: WebServer = house.server()
        self.sweeper: Child = house.sweeper()

    def kill(self, name: str, pause: float) -> None:
        """Kill one, and start it again after `pause` seconds."""
        if name == "postgres":
            self.database.kill()
            time.sleep(pause)
            self.database.start()
        elif name == "backend":
            backends = self.house.rows(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            if backends:
                os.kill(self.dice.choice(backends)[0], signal.SIGKILL)
        elif name == "server":
            port = int(self.server.base_url.rpartition(":")[2])
            self.server.kill()
            time.sleep(pause)
            self.server = self.house.server(port=port, wait=False)
        else:
            self.sweeper.kill()
            time.sleep(pause)
            self.sweeper = self.house.sweeper()

    def check(self) -> None:
        """Nothing ended that was not killed: a database that went away must not end its users."""
        assert self.server.running(), self.server.output()[-3000:]
        assert self.sweeper.running(), self.sweeper.output()[-3000:]


@pytest.mark.timeout(90 + 30 * ROUNDS)
def test_no_kill_charges_twice_or_loses_a_delivered_answer(
    crash_house: House, database: Database, double: ProviderDouble
) -> None:
    house = crash_house
    users = seed(house.environment, double.base_url, str(USERS), FUNDS_USD)
    dice = random.Random(SEED)
    victims = Victims(house, database, dice)
    print(f"CRASH_SEED={SEED}")  # noqa: T201  (pytest shows it when the test fails)
    with Load(victims.server.base_url, [user["token"] for user in users], seed=SEED) as load:
        for _ in range(ROUNDS):
            for victim in dice.sample(VICTIMS, len(VICTIMS)):
                time.sleep(dice.uniform(0.3, 1.5))
                victims.kill(victim, pause=dice.uniform(0, 1))
                victims.check()
        victims.server.wait_until_ready()
        enough = time.monotonic() + 60  # a slow machine has answered little by now
        while sum(told.complete for told in list(load.told)) <= 20 * ROUNDS and time.monotonic() < enough:
            time.sleep(0.2)
        time.sleep(1)
    house.wait_until_rated()
    victims.check()
    house.verify_ledger()
    check_what_clients_were_told(house, load.told)
    kinds = Counter((told.kind, told.complete) for told in load.told)
    print(f"{len(load.told)} answers, {load.unreachable} attempts while nobody listened: {dict(kinds)}")  # noqa: T201
    assert sum(told.complete for told in load.told) > 20 * ROUNDS


def test_an_outage_costs_nobody_an_answer_that_was_begun(
    crash_house: House, database: Database, double: ProviderDouble
) -> None:
    """PostgreSQL is killed and stays away. Nothing is served meanwhile, and the call in flight is not lost.

    Its hold is: holds commit without waiting for the disk. Its usage is stored, rated and paid all the same.
    """
    house = crash_house
    first, second = seed(house.environment, double.base_url, "2", FUNDS_USD)
    # The latest commits stay in memory for as long as this; the default is 0.2 s.
    house.rows("ALTER SYSTEM SET wal_writer_delay = '10s'")
    house.rows("SELECT pg_reload_conf()")
    server = house.server()

    def chat(user: dict[str, str], text: str, **headers: str) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        headers["authorization"] = f"Bearer {user['token']}"
        return httpx.post(f"{server.base_url}/v1/chat/completions", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(8) as pool:
        call = pool.submit(chat, first, "[[delay=2]] hello")
        double.wait_for(lambda: double.requests)
        assert house.value("SELECT count(*) FROM holds WHERE state = 'open'") == 1
        database.kill()
        killed_at = time.monotonic()
        strangers = [{"token": f"mf_sess_{number}"} for number in range(4)]
        for refused in pool.map(chat, (first, second, *strangers), ["hello"] * 6):
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), refused.text
            assert int(refused.headers["retry-after"]) > 0
        assert time.monotonic() < killed_at + 13, "those whom the process does not know wait for each other"
        assert len(double.requests) == 1
        time.sleep(max(killed_at + OUTAGE_SECONDS - time.monotonic(), 0))
        database.start()
        back_at = time.monotonic()
        assert house.value("SELECT count(*) FROM holds") == 0, "the hold was not lost"
        answer = call.result()
        assert answer.status_code == 200, answer.text
    while chat(second, "hello", **{"idempotency-key": "again"}).status_code != 200:
        time.sleep(0.2)
    assert time.monotonic() < back_at + 4, "connections are not tried again soon enough"
    assert house.manage("sweep", "--once").returncode == 0
    [(price, rated)] = house.rows(
        "SELECT price_nano, rated_at IS NOT NULL FROM usage_events WHERE account_id = %s", first["account"]
    )
    assert rated
    assert price == Decimal(answer.headers["x-modelfaucet-price-usd"]) * 10**9 > 0
    [(posted, held)] = house.rows("SELECT posted, held FROM wallets WHERE account_id = %s", first["account"])
    assert (posted, held) == (Decimal(FUNDS_USD) * 10**9 - price, 0)
    house.verify_ledger()


def check_what_clients_were_told(house: House, told: list[Told]) -> None:
    """Compare the books with what every client wrote down."""
    events = {
        request_id: (outcome, charged, price, posted)
        for request_id, outcome, charged, price, posted in house.rows("""
            SELECT e.request_id, e.outcome, e.charged, c.price_nano, -coalesce((
                SELECT sum(l.amount) FROM ledger_entries l JOIN ledger_transactions t ON t.id = l.transaction_id
                WHERE t.memo ->> 'request_id' = e.request_id AND l.account_id = e.account_id
            ), 0)
            FROM usage_events e JOIN usage_charges c ON c.event_id = e.id
        """)
    }
    assert house.value("SELECT count(*) FROM wallets WHERE held <> 0") == 0
    assert (
        house.rows(
            "SELECT memo ->> 'request_id' FROM ledger_transactions WHERE kind = 'usage' GROUP BY 1 HAVING count(*) > 1"
        )
        == []
    )
    charged_by_key: dict[str, set[str]] = {}
    for each in told:
        event = events.get(each.request_id)
        if each.complete:
            # Delivered to its end: charged, once, exactly what was told.
            assert event is not None, f"delivered and not recorded: {each}"
            assert event[2] == event[3], f"{each} posted {event}"
            if not each.replayed:
                assert each.price is not None and event[2] == each.price * 10**9, f"{each} charged {event}"
            if each.kind != "json empty":
                assert event[0] == "finished" and event[2] > 0, f"{each} charged {event}"
        elif event is not None and event[1]:
            # The process died, or the client left, between the event and the last byte of the answer.
            assert event[0] in {"finished", "client_left"}, f"{each} charged {event}"
            assert not each.refused, f"told that it is refused, and charged: {each} {event}"
        if each.key and event is not None and event[2]:
            charged_by_key.setdefault(each.key, set()).add(each.request_id)
    assert {key: ids for key, ids in charged_by_key.items() if len(ids) > 1} == {}
