"""A nightly job: sums up every ticket and tells its mood, each paid by the customer who wrote it.

    python nightly.py prepare                        make the two features in the app (once; again changes nothing)
    python nightly.py run tickets.csv report.csv     read tickets, write the report, tell what it cost

Run again it charges nothing for what was done before: each call has a key made of the ticket's id and text, under which
the gateway keeps its answer for a day. So a job that was stopped half way is simply started again.

Where the gateway is comes from FAUCET_BASE_URL, FAUCET_PUBLIC_APP_ID, FAUCET_APP_SECRET and, for `prepare` alone,
FAUCET_DEVELOPER_TOKEN; without them from the demo's var/demo.json (DEMO_JSON names another file).
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from modelfaucet_sdk import (
    ConnectionFailedError,
    Faucet,
    FaucetError,
    FeatureResult,
    InsufficientFundsError,
    UnavailableError,
)

FEATURES = {"summary": "Sum up a ticket", "sentiment": "Tell a ticket's mood"}
COLUMNS = ("ticket_id", "customer_id", "summary", "mood", "confidence", "price_usd", "problem")
# What every customer may spend a month at the app's expense, so that the demo's customers need to pay nothing.
ALLOWANCE_USD = "0.10"


@dataclass
class Costs:
    """What a run came to."""

    tickets: int = 0
    calls: int = 0
    repeated: int = 0
    charged: Decimal = Decimal(0)
    problems: int = 0

    def note(self, result: FeatureResult) -> Decimal:
        """Add a call, and return what it cost now: an answer of an earlier run costs nothing."""
        self.calls += 1
        if result.meta.replayed:
            self.repeated += 1
            return Decimal(0)
        price = result.price_usd or Decimal(0)
        self.charged += price
        return price

    def __str__(self) -> str:
        return (
            f"{self.tickets} tickets, {self.calls} calls, {self.repeated} of them answered by an earlier run; "
            f"charged {self.charged:f} USD; {self.problems} tickets with a problem"
        )


class Job:
    """One run."""

    def __init__(self, backend: Faucet) -> None:
        self.costs = Costs()
        self._backend = backend
        self._customers: dict[str, Faucet] = {}

    def rows(self, tickets: Iterable[Mapping[str, str]]) -> Iterable[dict[str, object]]:
        """Yield the report's row of each ticket; a ticket that cannot be paid for does not stop the others."""
        for ticket in tickets:
            self.costs.tickets += 1
            yield self._row(ticket["ticket_id"], ticket["customer_id"], ticket["text"])

    def _row(self, ticket_id: str, customer_id: str, text: str) -> dict[str, object]:
        row: dict[str, object] = {"ticket_id": ticket_id, "customer_id": customer_id}
        price = Decimal(0)
        try:
            customer = self._customer(customer_id)
            summary = self._ask(customer, "summary", ticket_id, {"text": text, "sentences": 2})
            price += self.costs.note(summary)
            mood = self._ask(customer, "sentiment", ticket_id, {"text": text})
            price += self.costs.note(mood)
        except (ConnectionFailedError, UnavailableError):
            raise  # the gateway is out of reach, for all tickets: stop, and start again later
        except FaucetError as error:
            why = "the customer's credit does not suffice" if isinstance(error, InsufficientFundsError) else str(error)
            return self._problem({**row, "price_usd": f"{price:f}"}, why)
        row |= {"summary": summary.text, "price_usd": f"{price:f}"}
        if mood.problem:
            return self._problem(row, f"the mood is {mood.problem}")
        return {**row, "mood": mood.output["sentiment"], "confidence": mood.output["confidence"]}

    def _problem(self, row: dict[str, object], why: str) -> dict[str, object]:
        self.costs.problems += 1
        return {**row, "problem": why}

    def _customer(self, customer_id: str) -> Faucet:
        """Return the client that calls as a customer: with a user token that is signed here, one session each."""
        if customer_id not in self._customers:
            self._customers[customer_id] = self._backend.for_user(customer_id)
        return self._customers[customer_id]

    @staticmethod
    def _ask(customer: Faucet, feature: str, ticket_id: str, given: dict[str, object]) -> FeatureResult:
        # Of the content, too: a ticket that was edited is another question, and a key goes with one question only.
        content = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
        return customer.feature(feature)(given, idempotency_key=f"nightly:{feature}:{ticket_id}:{content}")


def run(backend: Faucet, source: Path, target: Path) -> Costs:
    """Write the report of the tickets in `source` to `target`, which is there only once it is whole."""
    job = Job(backend)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with (
        source.open(newline="", encoding="utf-8") as tickets,
        unfinished.open("w", newline="", encoding="utf-8") as out,
    ):
        report = csv.DictWriter(out, COLUMNS)
        report.writeheader()
        report.writerows(job.rows(csv.DictReader(tickets)))
    unfinished.replace(target)
    return job.costs


def prepare(backend: Faucet, app: str, model: str) -> list[str]:
    """Make the features that are missing, and give customers an allowance; return what was done."""
    done = []
    have = {feature["key"] for feature in backend.ask("GET", "apps", app, "features", by="developer")["data"]}
    for key, name in FEATURES.items():
        if key not in have:
            body = {"key": key, "name": name, "template": f"{key}.en", "default_model": model}
            backend.ask("POST", "apps", app, "features", json=body, by="developer")
            done.append(f"feature {key}")
    if Decimal(backend.ask("GET", "apps", app, by="developer")["monthly_allowance_usd"]) == 0:
        backend.ask("PATCH", "apps", app, json={"monthly_allowance_usd": ALLOWANCE_USD}, by="developer")
        done.append(f"{ALLOWANCE_USD} USD a month for every customer, on the app")
    return done


def read_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return where the gateway is, from the environment or from what `make demo` wrote. Exits where neither has it."""
    path = Path(environ.get("DEMO_JSON") or Path(__file__).resolve().parents[2] / "var" / "demo.json")
    demo: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    names = ("base_url", "public_app_id", "app_secret", "developer_token", "model")
    found = {name: environ.get(f"FAUCET_{name.upper()}") or demo.get(name, "") for name in names}
    if not found["base_url"] or not found["public_app_id"] or not found["app_secret"]:
        sys.exit(f"There is no gateway: run `make demo` first (it writes {path}), or set FAUCET_BASE_URL and others.")
    return found


def main(argv: list[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description="Sum up the day's tickets, each at its customer's expense.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare")
    running = commands.add_parser("run")
    running.add_argument("source", type=Path)
    running.add_argument("target", type=Path)
    options = parser.parse_args(argv)
    found = read_settings()
    secrets = {"app_secret": found["app_secret"], "developer_token": found["developer_token"] or None}
    with Faucet(found["base_url"], found["public_app_id"], **secrets) as backend:
        try:
            if options.command == "run":
                print(run(backend, options.source, options.target))  # noqa: T201 (what the job is asked to tell)
            else:
                done = prepare(backend, found["public_app_id"], found["model"])
                print("\n".join(done) or "Nothing to do: the features are there.")  # noqa: T201
        except FaucetError as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
