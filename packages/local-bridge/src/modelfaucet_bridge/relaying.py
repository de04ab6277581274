"""The relay's side of the bridge: what it offers to the gateway and how a call from there is made here."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from modelfaucet_bridge.engine import Answer, Ask, Engine
from modelfaucet_bridge.fleet import Fleet
from modelfaucet_bridge.keychain import Keychain, SecretError
from modelfaucet_bridge.policies import Refused
from modelfaucet_bridge.relay import BackendProblem, Model, Opened, Relay, RelayRefused

log = logging.getLogger(__name__)
RETRY_SECONDS = 60.0


class Shared:
    """What the user shares with their gateway, as the relay wants it: models, and calls of them."""

    def __init__(self, engine: Engine, fleet: Fleet) -> None:
        self._engine, self._fleet = engine, fleet

    def models(self) -> Sequence[Model]:
        """Return the shared models of channels that are up."""
        offered: list[Model] = []
        for model, channel in self._fleet.models(shared_only=True):
            if self._fleet.health(channel.name).state != "up":
                continue
            known: dict[str, Any] = {"id": model.id, "capabilities": list(model.capabilities)}
            offered.append(known | ({"context_window": model.context_window} if model.context_window else {}))
        return offered

    @asynccontextmanager
    async def open(self, operation: str, model: str, body: dict[str, Any], stream: bool) -> AsyncIterator[Opened]:
        """Make a call; the gateway meters it, so nothing is reported. Raises BackendProblem."""
        ask = Ask(operation, {**body, "model": model, "stream": stream}, source="relay", shared_only=True)
        try:
            async with self._engine.call(ask) as answer:
                yield answer.status, answer.content_type, _chunks(answer)
        except Refused as refused:
            raise _problem(refused) from None


async def _chunks(answer: Answer) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.chunks():
            yield chunk
    except Refused as refused:
        raise _problem(refused) from None


def _problem(refused: Refused) -> BackendProblem:
    if refused.code == "model_not_found":
        return BackendProblem("model_not_found")
    if refused.status in (402, 429):
        return BackendProblem("busy")
    return BackendProblem("endpoint_broke_off" if refused.code == "channel_lost" else "endpoint_unreachable")


class Relays:
    """Keeps the connection to the gateway that the settings name."""

    def __init__(self, engine: Engine, fleet: Fleet, keychain: Keychain) -> None:
        self._backend, self._fleet, self._keychain = Shared(engine, fleet), fleet, keychain
        self._wish = ("", "")
        self._relay: Relay | None = None
        self._scope: anyio.CancelScope | None = None
        self.problem: str | None = None
        fleet.on_change = self._announce

    @property
    def state(self) -> str:
        """Say how the connection is: off, connecting, or connected."""
        if not all(self._wish):
            return "off"
        return "connected" if self._relay is not None and self._relay.connected else "connecting"

    def use(self, gateway: str, token_ref: str) -> None:
        """Connect to this gateway from now on, or to none; a connection to the same one stays."""
        if (gateway, token_ref) != self._wish:
            self._wish = (gateway, token_ref)
            self.again()

    def again(self) -> None:
        """Connect anew."""
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Connect, and stay connected, until cancelled. What is offered is known before."""
        await self._fleet.seen.wait()
        while True:
            with anyio.CancelScope() as self._scope:
                self.problem = None
                gateway, token_ref = self._wish
                if not gateway or not token_ref:
                    await anyio.sleep_forever()
                try:
                    token = await anyio.to_thread.run_sync(self._keychain.resolve, token_ref)
                    self._relay = Relay(gateway, token, self._backend)
                    await self._relay.run()
                except (RelayRefused, SecretError, ValueError) as error:
                    self.problem = str(error)
                    log.error("no connection to the gateway: %s", error)
                    await anyio.sleep(RETRY_SECONDS)
                finally:
                    self._relay = None

    async def _announce(self) -> None:
        if self._relay is not None:
            self._relay.announce()
