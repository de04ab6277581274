"""Alerts: raised once per channel, month and threshold, kept in a file until each destination has them."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import httpx

from modelfaucet_bridge.config import Channel, Destination
from modelfaucet_bridge.home import write_private
from modelfaucet_bridge.keychain import Keychain, SecretError
from modelfaucet_bridge.limits import STOPPED
from modelfaucet_bridge.money import NANO, usd
from modelfaucet_bridge.webhooks import DeliveryError, feishu_card, send_feishu, send_webhook

log = logging.getLogger(__name__)
RETRY_SECONDS = (1, 5, 30, 120, 600, 3600)
GIVE_UP_SECONDS = 3 * 24 * 3600
KEPT = 300


@dataclass
class Alert:
    """One alert. `id` is what makes it one: a destination never gets two of the same id. Amounts are nano-USD."""

    id: str
    kind: str  # budget | test
    at: float
    channel: str = ""
    period: str = ""
    threshold: int = 0
    spent: int = 0
    budget: int = 0
    delivered: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    next_at: float = 0

    def title(self) -> str:
        if self.kind == "test":
            return "ModelFaucet bridge: test alert · 测试告警"
        if self.threshold >= STOPPED:
            return f"{self.channel}: the month's budget is used up · 本月预算已用完"
        return f"{self.channel}: {self.threshold} % of the month's budget is spent · 已用 {self.threshold}%"

    def lines(self) -> list[str]:
        if self.kind == "test":
            return ["Alerts of this bridge arrive here. · 本机网关的告警会发到这里。"]
        left = max(0, self.budget - self.spent)
        return [
            f"Channel · 渠道: {self.channel}",
            f"Month · 月份: {self.period}",
            f"Spent · 已用: {usd(self.spent)} / {usd(self.budget)}",
            f"Remaining · 剩余: {usd(left)}",
        ]

    def event(self) -> dict[str, Any]:
        """Return the body of a webhook."""
        moment = datetime.fromtimestamp(self.at, timezone.utc).isoformat(timespec="seconds")
        data: dict[str, Any] = {"text": "\n".join([self.title(), *self.lines()])}
        if self.kind == "budget":
            data |= {"channel": self.channel, "period": self.period, "threshold_percent": self.threshold}
            data |= {"spent_nano_usd": self.spent, "budget_nano_usd": self.budget}
            data |= {"spent_usd": self.spent / NANO, "budget_usd": self.budget / NANO}
        return {
            "id": self.id,
            "type": f"{self.kind}.{'threshold' if self.kind == 'budget' else 'sent'}",
            "time": moment,
            "data": data,
        }


class Alerts:
    """The alerts of one bridge: a file of those raised, and one task that delivers what is due."""

    def __init__(self, path: Path, keychain: Keychain, clock: Callable[[], float] = time.time) -> None:
        self._path, self._keychain, self._clock = path, keychain, clock
        self._raised = _load(path)
        self._wake = asyncio.Event()
        self.destinations: tuple[Destination, ...] = ()

    def raise_budget(self, channel: Channel, period: str, threshold: int, spent: int) -> None:
        """Raise an alert unless this month had it; it is on the disk before this returns."""
        name = f"budget:{channel.name}:{period}:{threshold}"
        if name in self._raised:
            return
        self._raised[name] = Alert(
            name, "budget", self._clock(), channel.name, period, threshold, spent, channel.budget or 0
        )
        log.warning("budget alert: %s has spent %s %% of %s", channel.name, threshold, period)
        self._save()
        self._wake.set()

    def use(self, destinations: tuple[Destination, ...]) -> None:
        """Deliver to these from now on, also what is still open."""
        if destinations != self.destinations:
            self.destinations = destinations
            self._wake.set()

    def recent(self) -> list[Alert]:
        return sorted(self._raised.values(), key=lambda alert: -alert.at)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            await self.deliver_due(client)
            waiting = [alert.next_at for alert in self._raised.values() if self._open(alert)]
            seconds = min(waiting, default=self._clock() + 3600) - self._clock()
            with anyio.move_on_after(max(0.05, seconds)):
                await self._wake.wait()

    async def deliver_due(self, client: httpx.AsyncClient) -> None:
        """Try every alert that is due at every destination that lacks it."""
        for alert in sorted(self._raised.values(), key=lambda alert: (alert.at, alert.threshold)):
            if not self._open(alert) or alert.next_at > self._clock():
                continue
            for destination in self._lacking(alert):
                try:
                    await deliver(client, self._keychain, destination, alert, now=self._clock())
                except (DeliveryError, SecretError) as error:
                    alert.failures[destination.name] = str(error)
                    log.warning("alert %s did not reach %s: %s", alert.id, destination.name, error)
                else:
                    alert.delivered.append(destination.name)
                    alert.failures.pop(destination.name, None)
                self._save()
            pause = RETRY_SECONDS[min(alert.attempts, len(RETRY_SECONDS) - 1)]
            alert.attempts += 1
            alert.next_at = self._clock() + pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads, guards nothing

    def _lacking(self, alert: Alert) -> Iterable[Destination]:
        return [destination for destination in self.destinations if destination.name not in alert.delivered]

    def _open(self, alert: Alert) -> bool:
        return bool(self._lacking(alert)) and self._clock() - alert.at < GIVE_UP_SECONDS

    def _save(self) -> None:
        kept = self.recent()[:KEPT]
        self._raised = {alert.id: alert for alert in kept}
        write_private(self._path, json.dumps([asdict(alert) for alert in kept], indent=1))


def _load(path: Path) -> dict[str, Alert]:
    try:
        return {item["id"]: Alert(**item) for item in json.loads(path.read_text(encoding="utf-8"))}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError):
        log.warning("%s cannot be read; alerts of this month may be sent again", path)
        return {}


async def deliver(
    client: httpx.AsyncClient, keychain: Keychain, destination: Destination, alert: Alert, *, now: float
) -> None:
    """Send one alert to one destination. Raises DeliveryError or SecretError."""
    url = destination.url or keychain.resolve(destination.url_ref)
    secret = keychain.resolve(destination.secret_ref) if destination.secret_ref else ""
    if destination.kind == "feishu":
        colour = "blue" if alert.kind == "test" else "orange" if alert.threshold < 95 else "red"
        card = feishu_card(alert.title(), alert.lines(), secret=secret, timestamp=int(now), colour=colour)
        await send_feishu(client, url, card)
    else:
        await send_webhook(client, url, alert.event(), delivery=alert.id, secret=secret, timestamp=int(now))
