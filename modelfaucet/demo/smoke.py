"""The whole loop without a person, over HTTP, against a demo that this starts and stops itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx

from modelfaucet import env
from modelfaucet.demo.launch import READY_LINE
from modelfaucet.demo.supervisor import ChildEnded, Supervisor

START_SECONDS = 180
RATING_SECONDS = 30
METERING_SECONDS = 5
FUNDS = "0.50"
PRICE = "x-modelfaucet-price-usd"
QUESTION = "What is a ledger?"
TEXT = (
    "A ledger records every movement of money twice. What one account loses, others gain. Because both sides are "
    "written at once, the sum is always zero. Balances can be derived again at any time. An error shows at once."
)
NOTE = ": modelfaucet "  # the comment that ends a stream
EXPECTED = {
    "base_url",
    "model",
    "typed_feature",
    "public_app_id",
    "app_secret",
    "virtual_key",
    "session_token",
    "developer_token",
    "admin_url",
    "admin_user",
    "admin_password",
}


class SmokeFailed(Exception):
    """A step did not go as it must; the message says which and what was seen instead."""


class Smoke:
    """The steps, in order. Each raises SmokeFailed or returns a line about what it saw."""

    def __init__(self, demo: dict[str, Any], environment: dict[str, str]) -> None:
        self.demo = demo
        self.environment = environment
        self.client = httpx.Client(base_url=demo["base_url"], timeout=60, trust_env=False)
        self.user_token = ""
        self.calls: dict[str, Decimal] = {}  # request id → price in USD, as the answers said
        self.revenue_before = Decimal(0)

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("demo data", self.demo_data),
            ("revenue before", self.note_revenue),
            ("end user", self.make_user),
            ("session", self.open_session),
            ("JSON call", self.json_call),
            ("streamed call", self.streamed_call),
            ("automatic model", self.auto_call),
            ("responses", self.responses_call),
            ("messages", self.messages_call),
            ("embeddings", self.embeddings_call),
            ("typed feature", self.feature_call),
            ("wallet", self.wallet),
            ("virtual key", self.key_call),
            ("receipt", self.receipt),
            ("usage and rating", self.usage),
            ("developer's revenue", self.revenue),
            ("verify_ledger", self.verify_ledger),
        ]

    def demo_data(self) -> str:
        missing = EXPECTED - self.demo.keys()
        expect(not missing, f"demo.json lacks {sorted(missing)}")
        models = [model["id"] for model in self._get("models", self.demo["virtual_key"])["data"]]
        expect(self.demo["model"] in models, f"GET /v1/models offers {models}")
        return f"model {self.demo['model']}"

    def note_revenue(self) -> str:
        self.revenue_before = self._revenue()
        return f"{self.revenue_before} USD"

    def make_user(self) -> str:
        printed = self._manage("demo_user", "--usd", FUNDS)
        self.user_token = json.loads(printed.splitlines()[-1])["session_token"]
        balance = self._balance()
        expect(balance == Decimal(FUNDS), f"the wallet of a new user with {FUNDS} USD shows {balance}")
        return f"funded with {balance} USD"

    def open_session(self) -> str:
        """Prove the user as an app's backend does: with the app's secret, server to server."""
        body = {"public_app_id": self.demo["public_app_id"], "external_user_id": "smoke"}
        opened = self._post("sessions", self.demo["app_secret"], body).json()
        wallet = self._get("user/wallet", opened["session_token"])
        expect("available_usd" in wallet, f"GET /v1/user/wallet answers {wallet}")
        return f"lives {opened['expires_in']} s"

    def json_call(self) -> str:
        answer = self._chat(self.user_token, stream=False)
        text = answer.json()["choices"][0]["message"]["content"]
        expect(bool(text), "the answer is empty")
        return f"{len(text)} characters for {self._note(answer, answer.headers[PRICE])} USD"

    def streamed_call(self) -> str:
        answer = self._chat(self.user_token, stream=True)
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        expect(lines[-1:] == ["[DONE]"], f"the stream ends with {lines[-1:]}")
        deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
        text = "".join(delta.get("content") or "" for delta in deltas)
        expect(bool(text), "the stream is empty")
        notes = [line.removeprefix(NOTE) for line in answer.text.splitlines() if line.startswith(NOTE)]
        price = self._note(answer, json.loads(notes[-1])["price_usd"])
        return f"{len(deltas)} chunks, {len(text)} characters for {price} USD"

    def auto_call(self) -> str:
        answer = self._chat(self.user_token, stream=False, model="auto")
        price = self._note(answer, answer.headers[PRICE])
        return f"{answer.headers['x-modelfaucet-served-model']} for {price} USD"

    def responses_call(self) -> str:
        body = {"model": self.demo["model"], "input": QUESTION, "max_output_tokens": 200}
        answer = self._post("responses", self.user_token, body)
        said = answer.json()
        [text] = [part["text"] for item in said["output"] for part in item["content"] if part["type"] == "output_text"]
        expect(said["status"] == "completed" and bool(text), f"the response is {said}")
        return f"{len(text)} characters for {self._note(answer, answer.headers[PRICE])} USD"

    def messages_call(self) -> str:
        message = {"role": "user", "content": QUESTION}
        body = {"model": self.demo["model"], "max_tokens": 200, "messages": [message]}
        answer = self._post("messages", self.user_token, body)
        said = answer.json()
        expect(said["stop_reason"] == "end_turn" and bool(said["content"][0]["text"]), f"the message is {said}")
        return f"{len(said['content'][0]['text'])} characters for {self._note(answer, answer.headers[PRICE])} USD"

    def embeddings_call(self) -> str:
        model = self.demo["embedding_model"]
        if model is None:
            return "none here: the demo knows no embeddings of this provider"
        answer = self._post("embeddings", self.user_token, {"model": model, "input": ["one text", "another text"]})
        vectors = [each["embedding"] for each in answer.json()["data"]]
        expect(len(vectors) == 2 and vectors[0] != vectors[1], f"{len(vectors)} vectors came back, or the same twice")
        return f"{len(vectors[0])} dimensions for {self._note(answer, answer.headers[PRICE]):f} USD"

    def feature_call(self) -> str:
        body = {"input": {"text": TEXT, "sentences": 2}}
        answer = self._post(f"features/{self.demo['typed_feature']}", self.user_token, body)
        said = answer.json()
        expect(bool(said["output"]) and said["output_problem"] is None, f"the result is {said}")
        return f"{len(TEXT)} → {len(said['output'])} characters for {self._note(answer, answer.headers[PRICE])} USD"

    def receipt(self) -> str:
        """Compare the receipt of the first call with what its answer said."""
        request_id, price = next(iter(self.calls.items()))
        found = self._get(f"receipts/{request_id}", self.user_token)
        seen = (found["request_id"], Decimal(found["price_usd"]), found["audience"])
        expect(seen == (request_id, price, "end_user"), f"the receipt of {request_id} ({price} USD) says {seen}")
        return f"{found['route_mode']}, {found['policy']}, {found['tokens']['total']} tokens, {price} USD"

    def key_call(self) -> str:
        answer = self._chat(self.demo["virtual_key"], stream=False)
        price = self._note(answer, answer.headers[PRICE])
        return f"{price} USD from the developer's credit"

    def usage(self) -> str:
        """Wait until the sweeper has rated every call, and compare with what the answers said."""
        rows = self._rated_rows()
        for request_id, price in self.calls.items():
            seen = Decimal(rows[request_id]["retail_price_usd"])
            expect(price == seen, f"{request_id} was announced at {price} USD and rated at {seen}")
        return f"{len(rows)} calls rated"

    def wallet(self) -> str:
        """Compare the wallet with the prices: what is spent is held or posted within moments, rated or not."""
        spent = sum(self.calls.values(), Decimal(0))
        deadline = time.monotonic() + METERING_SECONDS
        while (left := self._balance()) != Decimal(FUNDS) - spent and time.monotonic() < deadline:
            time.sleep(0.02)
        expect(left == Decimal(FUNDS) - spent, f"{left} USD are left of {FUNDS} after calls of {spent}")
        return f"{left} USD left, {spent} spent"

    def revenue(self) -> str:
        rows = self._rated_rows()
        shares = sum((Decimal(rows[request_id]["channel_revenue_usd"]) for request_id in self.calls), Decimal(0))
        gained = self._revenue() - self.revenue_before
        expect(gained == shares > 0, f"revenue moved by {gained} USD and the shares of the calls are {shares}")
        return f"+{gained} USD"

    def verify_ledger(self) -> str:
        return self._manage("verify_ledger").strip().splitlines()[-1]

    def _chat(self, token: str, *, stream: bool, model: str = "") -> httpx.Response:
        message = {"role": "user", "content": QUESTION}
        body = {"model": model or self.demo["model"], "messages": [message], "stream": stream, "max_tokens": 200}
        return self._post("chat/completions", token, body)

    def _note(self, answer: httpx.Response, announced: str) -> Decimal:
        price = Decimal(announced)
        expect(price > 0, f"the call cost {price} USD")
        self.calls[answer.headers["x-request-id"]] = price
        return price

    def _rated_rows(self) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + RATING_SECONDS
        while True:
            page = self._get(f"apps/{self.demo['app_id']}/usage", self.demo["developer_token"])
            rows = {row["request_id"]: row for row in page["data"] if row["rated_at"]}
            if rows.keys() >= self.calls.keys():
                return {request_id: rows[request_id] for request_id in self.calls}
            expect(
                time.monotonic() < deadline, f"not rated after {RATING_SECONDS} s: {self.calls.keys() - rows.keys()}"
            )
            time.sleep(0.2)

    def _revenue(self) -> Decimal:
        page = self._get(f"developers/{self.demo['developer_id']}/revenue", self.demo["developer_token"])
        return Decimal(page["balance_usd"])

    def _balance(self) -> Decimal:
        return Decimal(self._get("user/wallet", self.user_token)["available_usd"])

    def _get(self, path: str, token: str) -> Any:
        return self._answer(self.client.get(path, headers={"authorization": f"Bearer {token}"})).json()

    def _post(self, path: str, token: str, body: dict[str, Any]) -> httpx.Response:
        return self._answer(self.client.post(path, json=body, headers={"authorization": f"Bearer {token}"}))

    @staticmethod
    def _answer(answer: httpx.Response) -> httpx.Response:
        request = answer.request
        expect(answer.is_success, f"{request.method} {request.url.path} answers {answer.status_code}: {answer.text}")
        return answer

    def _manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        run = subprocess.run(
            command, cwd=env.BASE_DIR, env=self.environment, capture_output=True, text=True, check=False
        )
        expect(run.returncode == 0, f"manage.py {' '.join(arguments)} exits {run.returncode}: {run.stdout}{run.stderr}")
        return run.stdout


def expect(condition: bool, otherwise: str) -> None:
    """Raise SmokeFailed with `otherwise` unless `condition` holds."""
    if not condition:
        raise SmokeFailed(otherwise)


def run(say: Callable[[str], object]) -> None:
    """Start a demo on a free port and data of its own, walk through every step, stop it. Raise SmokeFailed."""
    number = 0

    def report(name: str, seen: str) -> None:
        nonlocal number
        number += 1
        say(f"✓ {number:2} {name}: {seen}")

    var_dir = env.VAR_DIR / "smoke"
    environment = {**os.environ, "PROFILE": "embedded", "VAR_DIR": str(var_dir), "PORT": "0", "PUBLIC_BASE_URL": ""}
    with Supervisor(directory=env.BASE_DIR, logs=var_dir / "log", environment=environment) as supervisor:
        process = _start(supervisor)
        demo = json.loads((var_dir / "demo.json").read_text())
        report("migrated, seeded, started", demo["base_url"])
        smoke = Smoke(demo, environment)
        with smoke.client:
            for name, step in smoke.steps():
                try:
                    report(name, step())
                except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
                    raise SmokeFailed(f"{name}: {error!r}") from error
                except SmokeFailed as error:
                    raise SmokeFailed(f"{name}: {error}") from error
        _stop(process)
        expect(not _listens(demo["base_url"]), "something still listens after the demo was stopped")
        report("stopped", "nothing left behind")


def _start(supervisor: Supervisor) -> subprocess.Popen[bytes]:
    quickstart = supervisor.start("quickstart", "django", "quickstart", patience=60)
    try:
        supervisor.wait_until(lambda: READY_LINE in quickstart.output(), what="The demo's start", seconds=START_SECONDS)
    except (ChildEnded, TimeoutError) as error:
        raise SmokeFailed(str(error)) from error
    return quickstart.process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # as a terminal would
    try:
        status = process.wait(60)
    except subprocess.TimeoutExpired as error:
        raise SmokeFailed("the demo does not stop") from error
    expect(status == 0, f"the demo ended with status {status}")


def _listens(url: str) -> bool:
    address = httpx.URL(url)
    try:
        socket.create_connection((address.host, address.port or 80), timeout=1).close()
    except OSError:
        return False
    return True
