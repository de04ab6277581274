"""Usage of local models, kept until the gateway has it: reported once, also after a restart."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from modelfaucet_sdk.results import Usage

# How many the gateway takes at once.
BATCH = 100


# Refusals that end when the user tops up or a month is over.
_FOR_NOW = frozenset({"insufficient_funds", "budget_exceeded", "wallet_frozen"})


def is_refused_for_now(told: Mapping[str, Any]) -> bool:
    """Return whether the gateway's answer to one report says to send it again later."""
    return told["state"] == "rejected" and (told.get("error") or {}).get("code") in _FOR_NOW


def make_report(
    *,
    model: str,
    started_at: datetime,
    ended_at: datetime,
    usage: Usage,
    endpoint_kind: str = "openai_compatible",
    error_code: str | None = None,
) -> dict[str, Any]:
    """Return a usage report: numbers only, nothing of what was said. Its id makes a repetition harmless."""
    report: dict[str, Any] = {
        "report_id": uuid.uuid4().hex,
        "model": model or "unknown",
        "endpoint_kind": endpoint_kind,
        "input_tokens": max(usage.input_tokens - usage.cached_tokens, 0),
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "reasoning_tokens": min(usage.reasoning_tokens, usage.output_tokens),
        "status": "ok" if error_code is None else "error",
        "latency_ms": max(round((ended_at - started_at).total_seconds() * 1000), 0),
        "started_at": started_at.astimezone(timezone.utc).isoformat(),
    }
    return report if error_code is None else {**report, "error_code": error_code}


class ReportBuffer:
    """Reports that wait, in memory or (with a path) in a file of one JSON object a line."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._lock = threading.Lock()
        self._waiting: list[dict[str, Any]] = self._read()

    def add(self, report: dict[str, Any]) -> None:
        """Keep a report until it is settled."""
        with self._lock:
            self._waiting.append(report)
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(report) + "\n")

    def waiting(self, most: int | None = None) -> list[dict[str, Any]]:
        """Return the reports that wait, oldest first."""
        with self._lock:
            return self._waiting[:most]

    def settle(self, ids: Collection[str]) -> None:
        """Drop the reports that the gateway has, or will never take."""
        with self._lock:
            self._waiting = [report for report in self._waiting if report["report_id"] not in ids]
            if self._path is None:
                return
            # Beside it and then in its place: a crash leaves the old file or the new one.
            beside = self._path.with_name(f"{self._path.name}.new")
            beside.write_text("".join(json.dumps(report) + "\n" for report in self._waiting), encoding="utf-8")
            beside.replace(self._path)

    def _read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                report = json.loads(line)
            except ValueError:
                continue  # a line that a crash cut off
            if isinstance(report, dict) and isinstance(report.get("report_id"), str):
                found.append(report)
        return found
