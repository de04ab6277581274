"""The file bridge.toml: what a person has set, checked. It holds references to secrets and never a secret."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit
from tomlkit.exceptions import TOMLKitError

from modelfaucet_bridge.money import FREE, Price, nano_from_usd

HOST, PORT = "127.0.0.1", 19088
LOCAL_KINDS = ("ollama", "lm_studio", "vllm", "llama_cpp")
KINDS = (*LOCAL_KINDS, "openai_compatible")
WELL_KNOWN = {
    "ollama": "http://127.0.0.1:11434/v1",
    "lm_studio": "http://127.0.0.1:1234/v1",
    "vllm": "http://127.0.0.1:8000/v1",
    "llama_cpp": "http://127.0.0.1:8080/v1",
}
ANY_MODEL = "*"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ConfigError(ValueError):
    """The file says something that cannot be; the message names the place."""


@dataclass(frozen=True)
class Channel:
    """One place that answers calls: a local model server, one in the LAN, or a provider with the user's own key."""

    name: str
    kind: str
    base_url: str
    secret_ref: str = ""
    enabled: bool = True
    found: bool = False  # by discovery, and not in the file
    models: tuple[str, ...] = ()
    budget: int | None = None  # nano-USD a month
    hard_stop: bool = False
    alert_at: tuple[int, ...] = (80, 95)
    rpm: int | None = None
    tpm: int | None = None
    stream_usage: bool = True
    share: bool | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def on_this_machine(self) -> bool:
        return self.host in LOOPBACK

    @property
    def local(self) -> bool:
        """Tell whether it is the user's own model server, on this machine or in their network, and no provider."""
        return self.kind in LOCAL_KINDS or self.on_this_machine or _private(self.host)

    @property
    def shared(self) -> bool:
        """Tell whether paired web pages and the relay may use it. One with a key or a price is not, unless set so."""
        return (self.local and not self.secret_ref) if self.share is None else self.share

    def price(self, model: str) -> Price | None:
        """Return a model's price; None where it is unknown, which is never zero for a channel with a budget."""
        known = self.prices.get(model) or self.prices.get(ANY_MODEL)
        if known is None and self.local and self.budget is None and not self.secret_ref:
            return FREE
        return known


@dataclass(frozen=True)
class Destination:
    """Where alerts go. The URL of a Feishu or Lark bot is a secret of its own, so it may be a reference too."""

    name: str
    kind: str  # feishu | webhook
    url: str = ""
    url_ref: str = ""
    secret_ref: str = ""


@dataclass(frozen=True)
class Config:
    host: str = HOST
    port: int = PORT
    allow_remote: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    discover: bool = True
    discover_seconds: float = 15
    discover_at: Mapping[str, str] = field(default_factory=lambda: dict(WELL_KNOWN))
    channels: tuple[Channel, ...] = ()
    alerts: tuple[Destination, ...] = ()
    gateway_url: str = ""
    gateway_token_ref: str = ""
    ledger_bytes: int = 8_000_000
    ledger_months: int = 13
    policies: tuple[str, ...] = ()
    secrets_backend: str = "auto"

    def channel(self, name: str) -> Channel | None:
        return next((channel for channel in self.channels if channel.name == name), None)


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError, also if there is none."""
    try:
        content = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}: run `modelfaucet-bridge init`") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return parse(content)


def parse(content: Mapping[str, Any]) -> Config:
    """Check what a file says. Raises ConfigError."""
    top = _Table(content, "")
    discovery, ledger = top.table("discovery"), top.table("ledger")
    gateway, policies, secrets = top.table("gateway"), top.table("policies"), top.table("secrets")
    at = discovery.table("endpoints")
    config = Config(
        host=top.text("host", HOST),
        port=top.number("port", PORT, most=65_535) or 0,
        allow_remote=top.flag("allow_remote", False),
        hosts=top.texts("hosts"),
        origins=tuple(origin(value) for value in top.texts("origins")),
        discover=discovery.flag("enabled", True),
        discover_seconds=discovery.number("seconds", 15, least=1) or 15,
        discover_at={
            kind: http_url(at.text(kind, url)) for kind, url in WELL_KNOWN.items() if at.get(kind) is not False
        },
        channels=tuple(_channel(name, table) for name, table in top.tables("channels")),
        alerts=tuple(_destination(name, table) for name, table in top.tables("alerts")),
        gateway_url=http_url(gateway.text("url", "")) if gateway.text("url", "") else "",
        gateway_token_ref=gateway.text("token_ref", ""),
        ledger_bytes=ledger.number("max_bytes", 8_000_000, least=1_000) or 0,
        ledger_months=ledger.number("keep_months", 13, least=1) or 0,
        policies=policies.texts("enabled"),
        secrets_backend=secrets.choice("backend", "auto", ("auto", "keychain", "file")),
    )
    for kind in (*LOCAL_KINDS,):
        at.used.add(kind)
    for table in (discovery, ledger, gateway, policies, secrets, at, top):
        table.done()
    return config


def _channel(name: str, table: "_Table") -> Channel:
    budget = table.get("monthly_budget_usd")
    channel = Channel(
        name=name,
        kind=table.choice("kind", "openai_compatible", KINDS),
        base_url=http_url(table.text("base_url"), table.where),
        secret_ref=table.text("secret_ref", ""),
        enabled=table.flag("enabled", True),
        models=table.texts("models"),
        budget=None if budget is None else table.money("monthly_budget_usd"),
        hard_stop=table.flag("hard_stop", False),
        alert_at=tuple(sorted(set(table.percents("alert_at", (80, 95))))),
        rpm=table.number("rpm", None, least=1),
        tpm=table.number("tpm", None, least=1),
        stream_usage=table.flag("stream_usage", True),
        share=None if table.get("share") is None else table.flag("share", False),
        prices={model: _price(prices) for model, prices in table.tables("prices")},
    )
    if "/" in name or not name:
        raise ConfigError(f"{table.where}: a channel's name has no slash")
    if channel.secret_ref and ":" not in channel.secret_ref:
        raise ConfigError(f"{table.where}.secret_ref: write keychain:NAME, env:NAME or file:PATH, never the secret")
    table.done()
    return channel


def _price(table: "_Table") -> Price:
    read = table.get("cache_read_usd_per_mtok")
    price = Price(
        input=table.money("input_usd_per_mtok"),
        output=table.money("output_usd_per_mtok"),
        cache_read=None if read is None else table.money("cache_read_usd_per_mtok"),
    )
    table.done()
    return price


def _destination(name: str, table: "_Table") -> Destination:
    destination = Destination(
        name=name,
        kind=table.choice("kind", "webhook", ("feishu", "webhook")),
        url=http_url(table.text("url"), table.where) if table.get("url") is not None else "",
        url_ref=table.text("url_ref", ""),
        secret_ref=table.text("secret_ref", ""),
    )
    if bool(destination.url) == bool(destination.url_ref):
        raise ConfigError(f"{table.where}: give either url or url_ref")
    table.done()
    return destination


def _private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host.endswith((".local", ".lan", ".internal", ".ts.net"))


def http_url(text: str, where: str = "") -> str:
    """Return an http(s) URL without a slash at its end. Raises ConfigError, also if a password is in it."""
    at = f"{where}: " if where else ""
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port
    except ValueError:
        raise ConfigError(f"{at}{text!r} is not an address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ConfigError(f"{at}{text!r} is not an http or https address")
    if parts.username or parts.password:
        raise ConfigError(f"{at}an address has no user and no password in it: use secret_ref")
    return text.rstrip("/")


def origin(text: str) -> str:
    """Return an origin as a browser writes it, such as https://app.example. Raises ConfigError."""
    parts = urlsplit(text)
    if not parts.scheme or not parts.netloc or parts.path not in ("", "/") or parts.query or "*" in text:
        raise ConfigError(f"{text!r} is not an origin such as https://app.example (and there is no wildcard)")
    return f"{parts.scheme}://{parts.netloc}".lower()


class _Table:
    """A table of the file which remembers what was asked for, so that a misspelt name is an error."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self.content, self.where, self.used = content, where, set[str]()

    def get(self, name: str) -> Any:
        self.used.add(name)
        return self.content.get(name)

    def _fail(self, name: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.where}{'.' if self.where else ''}{name}: {problem}")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.get(name)
        if value is None and default is None:
            raise self._fail(name, "is missing")
        value = default if value is None or value is False else value
        if not isinstance(value, str):
            raise self._fail(name, "is not text")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._fail(name, "is neither true nor false")
        return default if value is None else value

    def number(self, name: str, default: int | None, *, least: int = 0, most: int = 2**53) -> int | None:
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._fail(name, f"is not a whole number from {least}")
        return value

    def money(self, name: str) -> int:
        value = self.get(name)
        if value is None:
            raise self._fail(name, "is missing")
        try:
            return nano_from_usd(value)
        except ValueError as error:
            raise self._fail(name, str(error)) from None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._fail(name, "is not a list of texts")
        return tuple(value)

    def percents(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, list) or not all(type(item) is int and 0 < item <= 100 for item in value):
            raise self._fail(name, "is not a list of whole per cents")
        return tuple(value)

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise self._fail(name, f"is none of {', '.join(allowed)}")
        return value

    def table(self, name: str) -> "_Table":
        value = self.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self._fail(name, "is not a table")
        return _Table(value or {}, f"{self.where}{'.' if self.where else ''}{name}")

    def tables(self, name: str) -> list[tuple[str, "_Table"]]:
        outer = self.table(name)
        return [(inner, outer.table(inner)) for inner in outer.content]

    def done(self) -> None:
        unknown = sorted(set(self.content) - self.used)
        if unknown:
            raise self._fail(unknown[0], "is not a setting")


def destinations_of(config: Config) -> tuple[Destination, ...]:
    """Return where alerts go: the file's, and a Feishu bot that the environment names."""
    url = os.environ.get("FEISHU_WEBHOOK_URL", "")
    if not url:
        return config.alerts
    secret = "env:FEISHU_WEBHOOK_SECRET" if os.environ.get("FEISHU_WEBHOOK_SECRET") else ""
    return (*config.alerts, Destination("feishu-env", "feishu", url_ref="env:FEISHU_WEBHOOK_URL", secret_ref=secret))
