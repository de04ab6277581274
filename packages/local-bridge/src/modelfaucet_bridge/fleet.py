"""The channels: those of the file and those found on this machine, how they are, and which one answers a call."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio.to_thread
import httpx

from modelfaucet_bridge.config import Channel, Config
from modelfaucet_bridge.keychain import Keychain, SecretError
from modelfaucet_bridge.policies import Refused
from modelfaucet_bridge.probing import CHAT, EMBEDDINGS, Health, Model, is_a, look

log = logging.getLogger(__name__)
# A provider is asked less often than a server of one's own.
PROVIDER_SECONDS = 300.0
ANY = ("", "auto", "default")


class Clients:
    """Connections: to the user's own servers never through a proxy, to providers as the environment says."""

    def __init__(self) -> None:
        timeout = httpx.Timeout(600, connect=5)
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=15)
        self.own = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        self.outside = httpx.AsyncClient(timeout=timeout, limits=limits)

    def of(self, channel: Channel) -> httpx.AsyncClient:
        return self.own if channel.local else self.outside

    async def close(self) -> None:
        await self.own.aclose()
        await self.outside.aclose()


class Fleet:
    """All channels of a bridge and the last look at each."""

    def __init__(self, clients: Clients, keychain: Keychain) -> None:
        self._clients, self._keychain = clients, keychain
        self._config = Config()
        self._found: dict[str, Channel] = {}
        self._health: dict[str, Health] = {}
        self._addresses: dict[str, str] = {}
        self.seen = asyncio.Event()  # everything was looked at once
        self.on_change: Callable[[], Awaitable[None]] | None = None

    def use(self, config: Config) -> None:
        """Take up another configuration."""
        self._config = config
        wanted = config.discover_at if config.discover else {}
        self._found = {kind: channel for kind, channel in self._found.items() if channel.base_url == wanted.get(kind)}
        for channel in self.channels():
            if self._addresses.get(channel.name) != channel.base_url:
                self._health.pop(channel.name, None)
                self._addresses[channel.name] = channel.base_url

    def channels(self) -> list[Channel]:
        """Return every channel, the file's first; a server that the file names is not listed twice."""
        named = {channel.name for channel in self._config.channels}
        addresses = {channel.base_url for channel in self._config.channels}
        found = [
            channel if channel.name not in named else replace(channel, name=f"{channel.name}-found")
            for channel in self._found.values()
            if channel.base_url not in addresses
        ]
        return [*self._config.channels, *found]

    def health(self, name: str) -> Health:
        return self._health.get(name, Health())

    def models(self, *, shared_only: bool = False) -> list[tuple[Model, Channel]]:
        """Return each model that can be called now, once, with the channel that answers first."""
        seen: dict[str, tuple[Model, Channel]] = {}
        for channel in self._usable(shared_only):
            for model in self.health(channel.name).models:
                seen.setdefault(model.id, (model, channel))
        return list(seen.values())

    def candidates(self, model: str, operation: str, *, shared_only: bool = False) -> list[tuple[Channel, str]]:
        """Return the channels that can answer, best first, each with its own name of the model. Raises Refused.

        `CHANNEL/MODEL` names both. Channels after the first are only tried if they are of its sort: a prompt meant for
        a model of one's own never goes to a provider because that one is down.
        """
        usable = self._usable(shared_only)
        if model in ANY:
            found = self._any(usable, EMBEDDINGS if operation == EMBEDDINGS else CHAT)
        else:
            found = [(channel, model) for channel in usable if self._has(channel, model)]
            name, _, rest = model.partition("/")
            if not found and rest:
                found = [(channel, rest) for channel in usable if channel.name == name]
            if not found:  # a provider that does not list its models
                blind = [channel for channel in usable if not self.health(channel.name).models]
                found = [(channel, model) for channel in blind if self.health(channel.name).state != "down"][:1]
        if not found:
            if not usable:
                raise Refused(503, "no_channel", "No channel is enabled and no model server was found.", retry_after=5)
            raise Refused(404, "model_not_found", "No channel of this bridge has this model: see /v1/models.")
        found.sort(key=lambda pair: self.health(pair[0].name).state == "down")
        return [pair for pair in found if pair[0].local == found[0][0].local]

    def mark_down(self, channel: Channel, error: str) -> None:
        """Note that a call has failed to reach a channel, before the next look."""
        known = self.health(channel.name)
        self._health[channel.name] = replace(known, state="down", error=error, at=time.time(), latency_ms=None)

    async def key(self, channel: Channel) -> str:
        """Return a channel's key, empty if it has none. Raises SecretError."""
        if not channel.secret_ref:
            return ""
        return await anyio.to_thread.run_sync(self._keychain.resolve, channel.secret_ref)

    async def run(self) -> None:
        """Look at everything again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._config.discover_seconds)

    async def refresh(self, *, all_of_them: bool = False) -> None:
        """Discover servers and look at every channel that is due."""
        before = [model.id for model, _ in self.models(shared_only=True)]
        if self._config.discover:
            known = {channel.base_url for channel in self._config.channels}
            places = [(kind, url) for kind, url in self._config.discover_at.items() if url not in known]
            await asyncio.gather(*(self._discover(kind, url) for kind, url in places))
        due = [channel for channel in self.channels() if channel.enabled and (all_of_them or self._is_due(channel))]
        await asyncio.gather(*(self.look(channel) for channel in due))
        self.seen.set()
        if self.on_change is not None and before != [model.id for model, _ in self.models(shared_only=True)]:
            await self.on_change()

    async def look(self, channel: Channel) -> Health:
        """Look at one channel now."""
        try:
            key = await self.key(channel)
        except SecretError as error:
            health = Health("down", time.time(), None, str(error))
        else:
            health = await look(self._clients.of(channel), channel, key)
            if health.state == "down" and not channel.local and "it answered 404" in (health.error or ""):
                # Some providers have no list of models: nothing is known until a call is made.
                health = replace(health, state="unknown", error=None)
        if health.state == "down" and not health.models:
            health = replace(health, models=self.health(channel.name).models)
        self._health[channel.name] = health
        self._addresses[channel.name] = channel.base_url
        return health

    async def _discover(self, kind: str, base_url: str) -> None:
        is_there = await is_a(self._clients.own, kind, base_url)
        known = self._found.get(kind)
        if is_there and (known is None or known.base_url != base_url):
            log.info("found %s at %s", kind, base_url)
            self._found[kind] = Channel(kind, kind, base_url, found=True)
        elif known is not None and known.base_url != base_url:
            del self._found[kind]

    def _is_due(self, channel: Channel) -> bool:
        every = 0 if channel.local else PROVIDER_SECONDS
        return time.time() - self.health(channel.name).at >= every

    def _usable(self, shared_only: bool) -> list[Channel]:
        return [channel for channel in self.channels() if channel.enabled and (channel.shared or not shared_only)]

    def _has(self, channel: Channel, model: str) -> bool:
        return model in channel.models or any(known.id == model for known in self.health(channel.name).models)

    def _any(self, usable: list[Channel], answers: str) -> list[tuple[Channel, str]]:
        """Return the first fitting model of each channel of one's own that is up."""
        found = []
        for channel in usable:
            health = self.health(channel.name)
            fitting = [model.id for model in health.models if model.answers == answers]
            if channel.local and fitting and health.state == "up":
                found.append((channel, fitting[0]))
        return found
