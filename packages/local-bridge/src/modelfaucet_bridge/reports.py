"""Usage for the gateway: what was used with a session, and no word of what was said.

Each report is a file of its own until the gateway has it, so that none is lost by a restart; each has an id of its own,
so that none counts twice. The session's token is in the keychain for as long as a report needs it.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import uuid
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx

from modelfaucet_bridge.home import private_directory, write_private
from modelfaucet_bridge.keychain import Keychain, SecretError
from modelfaucet_bridge.ledger import safe
from modelfaucet_bridge.policies import Call, Outcome

log = logging.getLogger(__name__)
BATCH = 100
# Refusals that end when the user tops up or a month is over: such a report is sent again while its session lasts.
FOR_NOW = frozenset({"insufficient_funds", "budget_exceeded", "wallet_frozen"})
PREFIX = "session-"
RETRY_SECONDS = (1, 2, 5, 15, 60, 300)


def report_of(call: Call, outcome: Outcome) -> dict[str, Any]:
    """Return the report of one call, in the form of /v1/local/usage-reports."""
    tokens = outcome.tokens
    failed = outcome.status >= 400
    report: dict[str, Any] = {
        "report_id": str(uuid.uuid4()),
        "model": safe(call.model),
        "endpoint_kind": call.channel.kind,
        "input_tokens": tokens.input if tokens else 0,
        "output_tokens": tokens.output if tokens else 0,
        "status": "error" if failed else "ok",
        "latency_ms": outcome.latency_ms,
        "started_at": datetime.fromtimestamp(call.started_at, timezone.utc).isoformat(timespec="milliseconds"),
    }
    if tokens and tokens.cache_read:
        report["cache_read_tokens"] = tokens.cache_read
    if tokens and tokens.reasoning:
        report["reasoning_tokens"] = tokens.reasoning
    if failed:
        report["error_code"] = (outcome.error_code or "channel_error")[:64]
    return report


class Spool:
    """The reports that the gateway does not have yet."""

    def __init__(self, directory: Path, keychain: Keychain) -> None:
        self._directory = private_directory(directory)
        self._rejected = private_directory(directory / "rejected")
        self._keychain = keychain
        self._wake = asyncio.Event()
        self._kept: set[str] = set()
        self.gateway = ""
        self.problem: str | None = None

    def pending(self) -> int:
        return len(list(self._directory.glob("*.json")))

    def rejected(self) -> int:
        return len(list(self._rejected.glob("*.json")))

    async def add(self, session: str, report: dict[str, Any]) -> None:
        """Keep a report; it is on the disk when this returns."""
        name = PREFIX + hashlib.sha256(session.encode()).hexdigest()[:16]
        if name not in self._kept:
            await anyio.to_thread.run_sync(self._keychain.keep, name, session)
            self._kept.add(name)
        content = json.dumps({"gateway": self.gateway, "session": name, "report": report})
        await anyio.to_thread.run_sync(write_private, self._directory / f"{report['report_id']}.json", content)
        self._wake.set()

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send what is there until cancelled."""
        failures = 0
        await anyio.to_thread.run_sync(self._forget_sessions)
        while True:
            self._wake.clear()
            self.problem = await self.flush(client)
            failures = failures + 1 if self.problem else 0
            if self.problem:
                log.warning("usage reports wait: %s", self.problem)
                pause = RETRY_SECONDS[min(failures - 1, len(RETRY_SECONDS) - 1)]
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads, guards nothing
            elif not self.pending():
                with anyio.move_on_after(60):
                    await self._wake.wait()

    async def flush(self, client: httpx.AsyncClient) -> str | None:
        """Send every report once; say what is wrong if some must wait."""
        groups: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
        for path in sorted(self._directory.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                groups[content["gateway"], content["session"]].append((path, content["report"]))
            except (ValueError, KeyError, TypeError):
                path.replace(self._rejected / path.name)
        problem = None
        for (gateway, name), reports in groups.items():
            for start in range(0, len(reports), BATCH):
                problem = await self._send(client, gateway, name, reports[start : start + BATCH]) or problem
        return problem

    async def _send(
        self, client: httpx.AsyncClient, gateway: str, name: str, reports: list[tuple[Path, dict[str, Any]]]
    ) -> str | None:
        try:
            session = await anyio.to_thread.run_sync(self._keychain.resolve, f"keychain:{name}")
        except SecretError:
            self._give_up(reports, "its session is gone")
            return None
        try:
            answer = await client.post(
                f"{gateway}/v1/local/usage-reports",
                json={"reports": [report for _, report in reports]},
                headers={"authorization": f"Bearer {session}"},
                timeout=20,
            )
        except httpx.HTTPError as error:
            return f"the gateway did not answer ({type(error).__name__})"
        if answer.status_code in (400, 401, 403, 404, 422):
            self._give_up(reports, f"the gateway answered {answer.status_code}")
            return None
        if not answer.is_success:
            return f"the gateway answered {answer.status_code}"
        try:
            told = answer.json()["data"]
            states = {item["report_id"]: item["state"] for item in told}
            later = {item["report_id"] for item in told if (item.get("error") or {}).get("code") in FOR_NOW}
        except (ValueError, KeyError, TypeError, AttributeError):
            return "the gateway's answer cannot be read"
        for path, report in reports:
            state = states.get(report["report_id"])
            if state in ("accepted", "duplicate"):
                path.unlink(missing_ok=True)
            elif state == "rejected" and report["report_id"] not in later:
                self._give_up([(path, report)], "the gateway rejected it")
        missing = sum(report["report_id"] not in states for _, report in reports)
        if missing:
            return f"the gateway left out {missing} reports"
        return f"the wallet does not cover the fee of {len(later)} calls" if later else None

    def _give_up(self, reports: list[tuple[Path, dict[str, Any]]], why: str) -> None:
        for path, report in reports:
            log.error("usage report %s is set aside: %s", report.get("report_id"), why)
            path.replace(self._rejected / path.name)

    def _forget_sessions(self) -> None:
        """Remove the tokens of sessions that no report needs any more."""
        needed = set()
        for path in self._directory.glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                needed.add(json.loads(path.read_text(encoding="utf-8"))["session"])
        for name in self._keychain.names():
            if name.startswith(PREFIX) and name not in needed and name not in self._kept:
                self._keychain.delete(name)
