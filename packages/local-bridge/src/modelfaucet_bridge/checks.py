"""What `doctor` and `security` look at. Each finding says what to do about it."""

import ipaddress
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from modelfaucet_bridge.config import LOOPBACK, Channel, Config, ConfigError, destinations_of, load
from modelfaucet_bridge.fleet import Clients, Fleet
from modelfaucet_bridge.home import CONFIG_FILE
from modelfaucet_bridge.keychain import TOKEN_VARIABLE, Keychain, SecretError, local_token
from modelfaucet_bridge.policies import PolicyError, load_policies

OK, WARN, FAIL = "ok", "warn", "fail"
TOKEN_LENGTH = 24
# What looks like a secret where none belongs.
SECRETS = re.compile(
    r"\b(sk-[\w-]{12,}|mf_(?:local|brg|sess|live|dtok)_[\w-]{8,}|AKIA[A-Z0-9]{12,}|AIza[\w-]{20,}|gsk_\w{20,}|xai-\w{20,}"
    r"|whsec_[\w+/=]{12,}|eyJ[\w-]{20,}\.|/open-apis/bot/v2/hook/[\w-]{8,}|hooks\.slack\.com/services/\w+)"
)
LONG_RANDOM = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")


@dataclass(frozen=True)
class Finding:
    """One line of a report: ok, warn or fail, what was looked at, and what was found."""

    state: str
    subject: str
    text: str


def base_url(config: Config) -> str:
    """Return the address at which a command on this machine reaches the bridge."""
    host = config.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK


def security(home: Path) -> Iterator[Finding]:
    """Yield the security checklist: bind, token, file modes, keychain, origins, secrets in files, exposure."""
    try:
        config = load(home / CONFIG_FILE)
    except ConfigError as error:
        yield Finding(FAIL, "settings", str(error))
        return
    keychain = Keychain(home, config.secrets_backend)
    token = local_token(keychain)
    yield _bind(config, token)
    yield _token(token)
    yield from _modes(home)
    if keychain.uses_file:
        yield Finding(WARN, "keychain", f"secrets are in a file: {keychain.where}")
    else:
        yield Finding(OK, "keychain", f"secrets are in {keychain.where}")
    yield from _secrets_in_settings(home, config)
    yield from _origins(config)
    yield from _transport(config)
    yield _exposure(config)


def _bind(config: Config, token: str) -> Finding:
    if is_loopback(config.host):
        return Finding(OK, "bind", f"only this machine can connect ({config.host}:{config.port})")
    if not config.allow_remote or not token:
        return Finding(FAIL, "bind", f"{config.host} is not this machine alone; set host back to 127.0.0.1")
    if config.host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return Finding(FAIL, "bind", "every network can connect: bind the address of your Tailscale or WireGuard")
    return Finding(WARN, "bind", f"other machines can connect at {config.host}, without TLS: use it in a VPN only")


def _token(token: str) -> Finding:
    if not token:
        return Finding(FAIL, "token", "there is none: run `modelfaucet-bridge init`")
    if len(token) < TOKEN_LENGTH or len(set(token)) < 10:
        return Finding(FAIL, "token", f"it is too easy to guess: remove {TOKEN_VARIABLE}, or make it longer")
    return Finding(OK, "token", "every call needs it, also on this machine")


def _modes(home: Path) -> Iterator[Finding]:
    if os.name != "posix":
        yield Finding(OK, "files", "file modes are not checked on this system")
        return
    open_to_others = [path for path in (home, *sorted(home.rglob("*"))) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    wrong = [path for path in open_to_others if path.is_dir() or not path.name.endswith(".lock")]
    for path in wrong[:5]:
        fix = f"chmod {'700' if path.is_dir() else '600'} {path}"
        yield Finding(FAIL, "files", f"{path} can be read by other users: {fix}")
    if not wrong:
        yield Finding(OK, "files", f"only you can read {home}")


def _secrets_in_settings(home: Path, config: Config) -> Iterator[Finding]:
    text = (home / CONFIG_FILE).read_text(encoding="utf-8")
    found = 0
    for number, line in enumerate(text.splitlines(), start=1):
        value = line.partition("=")[2]
        if SECRETS.search(line) or LONG_RANDOM.search(value.replace("/v1", "")):
            found += 1
            yield Finding(FAIL, "settings", f"line {number} of {CONFIG_FILE} looks like a secret: use a reference")
    for destination in config.alerts:
        if destination.kind == "feishu" and destination.url and not SECRETS.search(destination.url):
            found += 1
            yield Finding(FAIL, "settings", f"the address of {destination.name} is a secret: use url_ref")
    if not found:
        yield Finding(OK, "settings", f"no secret is in {CONFIG_FILE}")


def _origins(config: Config) -> Iterator[Finding]:
    for origin in config.origins:
        parts = urlsplit(origin)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield Finding(FAIL, "origins", f"{origin} has no TLS: anybody in between can be that page")
    if all(
        urlsplit(origin).scheme != "http" or is_loopback(urlsplit(origin).hostname or "") for origin in config.origins
    ):
        yield Finding(OK, "origins", f"{len(config.origins)} allowed by the settings, no wildcard")


def _transport(config: Config) -> Iterator[Finding]:
    for channel in config.channels:
        if channel.base_url.startswith("http://") and channel.secret_ref and not channel.local:
            yield Finding(FAIL, "channels", f"{channel.name} sends its key without TLS to {channel.host}")
        elif channel.base_url.startswith("http://") and not channel.local:
            yield Finding(WARN, "channels", f"{channel.name} sends prompts without TLS to {channel.host}")
        if channel.shared and not channel.local:
            yield Finding(WARN, "channels", f"{channel.name} is shared: paired pages spend with its key")
    if config.gateway_url.startswith("http://") and not is_loopback(urlsplit(config.gateway_url).hostname or ""):
        yield Finding(FAIL, "gateway", f"{config.gateway_url} has no TLS")


def _exposure(config: Config) -> Finding:
    if is_loopback(config.host) and not config.hosts:
        return Finding(
            OK, "remote", "no name but this machine's own is answered; remote access: Tailscale or WireGuard"
        )
    names = ", ".join(config.hosts) or config.host
    return Finding(WARN, "remote", f"it also answers to {names}: reach it through Tailscale or WireGuard only")


async def doctor(home: Path) -> list[Finding]:
    """Return what works and what does not: settings, secrets, channels, alerts, the gateway, the running bridge."""
    findings = [Finding(OK, "python", sys.version.split()[0])]
    try:
        config = load(home / CONFIG_FILE)
    except ConfigError as error:
        return [*findings, Finding(FAIL, "settings", str(error))]
    findings.append(Finding(OK, "settings", str(home / CONFIG_FILE)))
    keychain = Keychain(home, config.secrets_backend)
    try:
        token = local_token(keychain)
    except SecretError as error:
        return [*findings, Finding(FAIL, "keychain", str(error))]
    findings.append(Finding(WARN if keychain.uses_file else OK, "keychain", keychain.where))
    findings.append(Finding(OK, "token", "set") if token else Finding(FAIL, "token", "run `modelfaucet-bridge init`"))
    try:
        load_policies(config.policies)
    except PolicyError as error:
        findings.append(Finding(FAIL, "policies", str(error)))
    findings += await _running(config, token)
    findings += await _channels(config, keychain)
    findings += _alerts(config, keychain)
    if config.gateway_url:
        findings.append(await _gateway(config, keychain))
    return findings


async def _running(config: Config, token: str) -> list[Finding]:
    url = base_url(config)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(f"{url}/status", headers={"authorization": f"Bearer {token}"})
    except httpx.HTTPError:
        if _is_taken(config):
            return [Finding(FAIL, "bridge", f"another program has port {config.port}: set another `port`")]
        return [Finding(WARN, "bridge", "it is not running: `modelfaucet-bridge start`")]
    try:
        status = answer.json()
    except ValueError:
        status = {}
    if not isinstance(status, dict) or status.get("name") != "modelfaucet-bridge":
        return [Finding(FAIL, "bridge", f"another program answers at {url}: set another `port`")]
    if answer.status_code != 200:
        return [Finding(FAIL, "bridge", f"it refuses the token of this directory ({answer.status_code})")]
    findings = [Finding(OK, "bridge", f"version {status['version']} is running at {url}")]
    if status.get("problem"):
        findings.append(Finding(FAIL, "bridge", f"it goes on with earlier settings: {status['problem']}"))
    if status.get("relay") != "off":
        state = OK if status["relay"] == "connected" else WARN
        findings.append(Finding(state, "relay", status.get("relay_problem") or str(status["relay"])))
    if status.get("reports_rejected"):
        findings.append(Finding(WARN, "reports", f"{status['reports_rejected']} were set aside in spool/rejected"))
    if status.get("reports_problem"):
        findings.append(Finding(WARN, "reports", f"{status['reports_pending']} wait: {status['reports_problem']}"))
    return findings


def _is_taken(config: Config) -> bool:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((config.host, config.port)) == 0


async def _channels(config: Config, keychain: Keychain) -> list[Finding]:
    clients = Clients()
    fleet = Fleet(clients, keychain)
    fleet.use(config)
    try:
        await fleet.refresh(all_of_them=True)
        findings = [_channel(fleet, channel) for channel in fleet.channels() if channel.enabled]
    finally:
        await clients.close()
    for channel in config.channels:
        names = (
            {*channel.models, *(model.id for model in fleet.health(channel.name).models)} or set(channel.prices) or {""}
        )
        unknown = sum(channel.price(name) is None for name in names)
        if channel.enabled and channel.budget is not None and unknown:
            state = FAIL if channel.hard_stop else WARN
            text = (
                f"{channel.name} has a budget, and {unknown} of its models no price: `channels price {channel.name} …`"
            )
            findings.append(Finding(state, "prices", text))
    if not findings:
        findings.append(Finding(WARN, "channels", "none: start a model server, or `modelfaucet-bridge channels add`"))
    return findings


def _channel(fleet: Fleet, channel: Channel) -> Finding:
    health = fleet.health(channel.name)
    place = f"{channel.name} ({channel.kind}, {channel.base_url})"
    if health.state == "down":
        return Finding(FAIL, "channels", f"{place}: {health.error}")
    return Finding(OK, "channels", f"{place}: {len(health.models)} models, {health.latency_ms} ms")


def _alerts(config: Config, keychain: Keychain) -> list[Finding]:
    destinations = destinations_of(config)
    findings = []
    for destination in destinations:
        try:
            for reference in filter(None, (destination.url_ref, destination.secret_ref)):
                keychain.resolve(reference)
        except SecretError as error:
            findings.append(Finding(FAIL, "alerts", f"{destination.name}: {error}"))
        else:
            findings.append(Finding(OK, "alerts", f"{destination.name} ({destination.kind}); try `alerts test`"))
    if not destinations and any(channel.budget for channel in config.channels):
        findings.append(Finding(WARN, "alerts", "there are budgets, and nowhere to send an alert: `alerts add`"))
    return findings


async def _gateway(config: Config, keychain: Keychain) -> Finding:
    if config.gateway_token_ref:
        try:
            keychain.resolve(config.gateway_token_ref)
        except SecretError as error:
            return Finding(FAIL, "gateway", str(error))
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{config.gateway_url}/v1/models")
    except httpx.HTTPError as error:
        return Finding(FAIL, "gateway", f"{config.gateway_url} does not answer ({type(error).__name__})")
    return Finding(OK, "gateway", f"{config.gateway_url} answers ({answer.status_code})")
