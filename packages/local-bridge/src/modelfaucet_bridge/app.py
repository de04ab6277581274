"""A running bridge: everything put together over one directory, and what goes on in the background."""

import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from modelfaucet_bridge import __version__
from modelfaucet_bridge.access import Origins, PageKeys, Pairings
from modelfaucet_bridge.alerts import Alerts
from modelfaucet_bridge.config import Channel, Config, ConfigError, destinations_of, load
from modelfaucet_bridge.engine import Engine
from modelfaucet_bridge.fleet import Clients, Fleet
from modelfaucet_bridge.home import CONFIG_FILE, stamp
from modelfaucet_bridge.keychain import Keychain, local_token
from modelfaucet_bridge.ledger import Ledger
from modelfaucet_bridge.limits import Budgets, Rates
from modelfaucet_bridge.policies import Policy, load_policies
from modelfaucet_bridge.relaying import Relays
from modelfaucet_bridge.reports import Spool

log = logging.getLogger(__name__)
WATCH_SECONDS = 1.0


class Bridge:
    """One bridge. Raises config.ConfigError or policies.PolicyError if it cannot be as it is set."""

    def __init__(self, home: Path) -> None:
        self.home, self.path = home, home / CONFIG_FILE
        self.config = load(self.path)
        self.problem: str | None = None
        self._bound: dict[str, Any] = {}
        self.keychain = Keychain(home, self.config.secrets_backend)
        self.token = local_token(self.keychain)
        self.ledger = Ledger(
            home / "ledger",
            max_bytes=self.config.ledger_bytes,
            keep_months=self.config.ledger_months,
            now=time.time(),
        )
        self.clients = Clients()
        self.fleet = Fleet(self.clients, self.keychain)
        self.alerts = Alerts(home / "alerts.json", self.keychain)
        self.spool = Spool(home / "spool", self.keychain)
        self.rates = Rates()
        self.rates.restore(self.ledger.recent)
        self.budgets = Budgets(self.ledger, self.alerts.raise_budget)
        policies: list[Policy] = [self.budgets, self.rates, *load_policies(self.config.policies)]
        self.engine = Engine(self.fleet, self.clients, self.ledger, self.spool, self.keychain, policies)
        self.origins = Origins(home / "origins.json")
        self.pairings = Pairings(self.origins)
        self.page_keys = PageKeys()
        self.relays = Relays(self.engine, self.fleet, self.keychain)
        self._watched = self._stamps()
        self._use(self.config)

    def bind(self, host: str, port: int) -> None:
        """Say where the bridge really listens, whatever the settings say now or later."""
        self._bound = {"host": host, "port": port}
        self.config = replace(self.config, host=host, port=port)

    def is_owner(self, token: str) -> bool:
        return bool(self.token) and hmac.compare_digest(token.encode(), self.token.encode())

    def allowed_origins(self) -> set[str]:
        return {*self.config.origins, *(paired.origin.lower() for paired in self.origins.all())}

    def allowed_hosts(self) -> tuple[str, ...]:
        return (*self.config.hosts, self.config.host)

    def status(self, *, owner: bool) -> dict[str, Any]:
        """Return what the bridge and its channels are like; to a web page only of what it may use."""
        channels = [channel for channel in self.fleet.channels() if owner or channel.shared]
        status = self.greeting() | {"endpoints": [self._endpoint(channel, owner) for channel in channels]}
        if owner:
            status |= {
                "problem": self.problem,
                "in_flight": self.engine.in_flight,
                "reports_pending": self.spool.pending(),
                "reports_rejected": self.spool.rejected(),
                "reports_problem": self.spool.problem,
                "relay": self.relays.state,
                "relay_problem": self.relays.problem,
                "origins": sorted(self.allowed_origins()),
                "pairing": [pairing.app_name for pairing in self.pairings.waiting()],
            }
        return status

    def greeting(self) -> dict[str, Any]:
        """Return what anybody may know."""
        enabled = [channel for channel in self.fleet.channels() if channel.enabled]
        return {
            "name": "modelfaucet-bridge",
            "version": __version__,
            "ok": any(self.fleet.health(channel.name).state != "down" for channel in enabled),
            "requires_token": True,
            "reports": bool(self.spool.gateway),
            "gateway": self.spool.gateway or None,
        }

    def _endpoint(self, channel: Channel, owner: bool) -> dict[str, Any]:
        health = self.fleet.health(channel.name)
        endpoint: dict[str, Any] = {
            "name": channel.name,
            "kind": channel.kind,
            "local": channel.local,
            "enabled": channel.enabled,
            "health": {
                "state": health.state if channel.enabled else "disabled",
                "latency_ms": health.latency_ms,
                "checked_at": health.at or None,
                "error": health.error,
            },
            "models": [
                {"id": model.id, "context_window": model.context_window, "capabilities": list(model.capabilities)}
                for model in health.models
            ],
        }
        if owner:
            month, (requests, tokens) = self.ledger.month(channel.name, time.time()), self.rates.used(channel.name)
            endpoint |= {"base_url": channel.base_url, "found": channel.found, "shared": channel.shared}
            endpoint["month"] = {
                "spent_nano_usd": month.spent,
                "budget_nano_usd": channel.budget,
                "hard_stop": channel.hard_stop,
                "calls": month.calls,
                "failures": month.failures,
                "tokens": month.tokens,
                "calls_of_unknown_price": month.unknown,
            }
            endpoint["minute"] = {"requests": requests, "rpm": channel.rpm, "tokens": tokens, "tpm": channel.tpm}
        return endpoint

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do in the background what there is to do, as long as this lasts."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forever, self.fleet.run)
            tasks.start_soon(self._forever, lambda: self.alerts.run(self.clients.outside))
            tasks.start_soon(self._forever, lambda: self.spool.run(self.clients.outside))
            tasks.start_soon(self._forever, self.relays.run)
            tasks.start_soon(self._forever, self._watch)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
        await self.clients.close()
        self.ledger.close()

    async def reload(self) -> None:
        """Take up what commands have changed. A file that is wrong changes nothing and is reported."""
        try:
            config = await anyio.to_thread.run_sync(load, self.path)
        except ConfigError as error:
            self.problem = str(error)
            log.error("the settings are left as they were: %s", error)
            return
        self.keychain.forget()
        self.token = await anyio.to_thread.run_sync(local_token, self.keychain)
        self.problem = None
        self._use(config)
        await self.fleet.refresh(all_of_them=True)

    def _use(self, config: Config) -> None:
        # What the process is bound to, and what it has loaded, is as it was until it starts anew.
        self.config = replace(config, **self._bound)
        self.ledger.max_bytes, self.ledger.keep_months = config.ledger_bytes, config.ledger_months
        self.fleet.use(config)
        self.alerts.use(destinations_of(config))
        self.spool.gateway = config.gateway_url
        self.relays.use(config.gateway_url, config.gateway_token_ref)
        for channel in config.channels:
            self.budgets.check(channel)

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(WATCH_SECONDS)
            found = self._stamps()
            if found != self._watched:
                self._watched = found
                await self.reload()

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        return (stamp(self.path), stamp(self.keychain.index))

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                log.exception("something in the background failed: %s", type(error).__name__)
                await anyio.sleep(1)
