"""Where this process may connect to: the one guard for provider URLs, webhooks and images.

Two moments: `check_url` when an address is saved (syntax and literal addresses; no network), and `resolve` when
it is called. Callers connect to the addresses that `resolve` returns and to nothing else, so a name that changes
its answer between the check and the connection gains nothing, and they follow no redirects.

The operator's own endpoints inside the network (OUTBOUND_PRIVATE_ENDPOINTS, `host:port`) are exempt, by name and
port exactly as they are written there.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext

from apps.core.errors import BadRequest

IPAddress = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[list[str]]]
LookupNow = Callable[[str, int], list[str]]

# Own lists: what `is_global` and `is_private` say has changed between patch releases of Python.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host: looks public, is not
        "169.254.0.0/16",  # link-local, and the metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Everything outside global unicast is refused: mapped, compatible and NAT64 forms, unique and link-local, multicast.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home.arpa")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressNotAllowed(BadRequest):
    """An address this instance does not connect to. The message says why and is fit to be shown."""

    default_code = "address_not_allowed"


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """An http(s) URL taken apart once; `host` is in lower case and without brackets, `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def endpoint(self) -> str:
        """Return `host:port`, an IPv6 literal in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """Return the value of the Host header: the port only where it is not the scheme's own."""
        endpoint = self.endpoint
        return endpoint.rpartition(":")[0] if self.port == _DEFAULT_PORTS[self.scheme] else endpoint


@lru_cache(maxsize=1024)
def parse_url(url: str) -> ParsedUrl:
    """Take an http(s) URL apart, the same way for the guard and for the client.

    Raises AddressNotAllowed for what two parsers could read differently (blanks, backslashes, user info, a
    fragment, other than ASCII) and for hosts and ports that are not well formed.
    """
    if _UNPRINTABLE.search(url) or "\\" in url or "#" in url:
        raise AddressNotAllowed(
            gettext("A URL is plain ASCII without blanks, backslashes and fragments; write names as xn--….")
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressNotAllowed(gettext("The URL's host or port is malformed.")) from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise AddressNotAllowed(gettext("The URL must start with http:// or https://."))
    if "@" in parts.netloc:
        raise AddressNotAllowed(gettext("The URL must not hold a user name or password."))
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\](:[0-9]+)?", parts.netloc):
            raise AddressNotAllowed(gettext("The URL's IPv6 address is malformed."))
        host = str(_literal(host))
    else:
        if not re.fullmatch(r"[^:]+(:[0-9]+)?", parts.netloc):
            raise AddressNotAllowed(gettext("The URL's host or port is malformed."))
        _check_name(host)
    if port == 0:
        raise AddressNotAllowed(gettext("The URL's port must lie between 1 and 65535."))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ParsedUrl(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], target)


def _literal(host: str) -> IPAddress:
    try:
        return ip_address(host)
    except ValueError as error:
        raise AddressNotAllowed(gettext("The URL's host is not a well-formed address.")) from error


def _check_name(host: str) -> None:
    """Raise AddressNotAllowed unless `host` is a host name or an IPv4 address in its usual form."""
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressNotAllowed(
            gettext("The URL's host is not a well-formed name (a final dot is not accepted either).")
        )
    if _NUMBER.fullmatch(labels[-1]):  # resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses
        _literal(host)


def check_address(address: str | IPAddress) -> bool:
    """Return whether `address` belongs to the public internet.

    Refused: loopback, private, link-local, metadata services, carrier-grade NAT, multicast, reserved, unspecified,
    documentation, and every IPv6 form that stands for an IPv4 address (mapped, compatible, 6to4, NAT64, Teredo).
    """
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def check_url(url: str, *, allowed_private: Collection[str] | None = None) -> None:
    """Raise AddressNotAllowed if a URL must not be saved as one to be called. Touches no network.

    `allowed_private` holds `host:port` pairs that are exempt; by default OUTBOUND_PRIVATE_ENDPOINTS.
    """
    parsed = parse_url(url)
    if parsed.endpoint in _private_endpoints(allowed_private):
        return
    _check_host(parsed.host)
    if parsed.port < 1024 and parsed.port not in (80, 443):
        raise AddressNotAllowed(gettext("Below 1024 only the ports 80 and 443 are allowed."))


def names_private_endpoint(url: str) -> bool:
    """Tell whether a URL leads to an endpoint that the operator exempted, which is for the operator alone to use.

    Raises AddressNotAllowed for a URL that is none.
    """
    return parse_url(url).endpoint in settings.OUTBOUND_PRIVATE_ENDPOINTS


def _check_host(host: str) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        if "." not in host or host.endswith(_LOCAL_SUFFIXES):
            raise AddressNotAllowed(gettext("The URL's host is a name of the local network.")) from None
        return
    if not check_address(address):
        raise AddressNotAllowed(gettext("The URL's address is not on the public internet."))


def _private_endpoints(allowed: Collection[str] | None) -> Collection[str]:
    return settings.OUTBOUND_PRIVATE_ENDPOINTS if allowed is None else allowed


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name in the system's order of preference. Raises OSError when there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def resolve(
    host: str, port: int, *, allowed_private: Collection[str] | None = None, lookup: Lookup = look_up
) -> list[tuple[str, int]]:
    """Return the (address, port) pairs that may be connected to for `host`, best first; never an empty list.

    A name with both public and other addresses is reached by its public ones. Raises AddressNotAllowed when none
    is left, OSError when the name does not resolve.
    """
    exempt, addresses = _before_lookup(host, port, allowed_private)
    return _vet(addresses or await lookup(host, port), port, exempt)


def look_up_now(host: str, port: int) -> list[str]:
    """Return what `look_up` returns, blocking."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def resolve_now(
    host: str, port: int, *, allowed_private: Collection[str] | None = None, lookup: LookupNow = look_up_now
) -> list[tuple[str, int]]:
    """Return what `resolve` returns, blocking. Raises as `resolve` does."""
    exempt, addresses = _before_lookup(host, port, allowed_private)
    return _vet(addresses or lookup(host, port), port, exempt)


def _before_lookup(host: str, port: int, allowed_private: Collection[str] | None) -> tuple[bool, list[str]]:
    """Return whether the endpoint is exempt, and the address that `host` is itself, if it is one."""
    exempt = ParsedUrl("http", host.lower(), port, "/").endpoint in _private_endpoints(allowed_private)
    try:
        return exempt, [str(ip_address(host))]
    except ValueError:
        if not exempt:
            _check_host(host.lower())
        return exempt, []


def _vet(addresses: list[str], port: int, exempt: bool) -> list[tuple[str, int]]:
    vetted = [(address, port) for address in addresses if exempt or check_address(address)]
    if not vetted:
        raise AddressNotAllowed(gettext("The host's address is not on the public internet."))
    return vetted


class Resolver:
    """`resolve` with a memory: answers are kept for `ttl` seconds, simultaneous questions are asked once.

    Belongs to one event loop. Keeping vetted addresses is safe: they are what is connected to.
    """

    def __init__(
        self, *, ttl: float = 30.0, allowed_private: Collection[str] | None = None, lookup: Lookup = look_up
    ) -> None:
        self._ttl = ttl
        self._allowed_private = allowed_private
        self._lookup = lookup
        self._known: dict[tuple[str, int], tuple[float, list[tuple[str, int]]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[list[tuple[str, int]]]] = {}

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """Return what `resolve` returns, from memory if it is fresh. Raises as `resolve` does."""
        loop = asyncio.get_running_loop()
        key = (host, port)
        known = self._known.get(key)
        if known is not None and known[0] > loop.time():
            return known[1]
        task = self._asked.get(key)
        if task is None:
            task = loop.create_task(resolve(host, port, allowed_private=self._allowed_private, lookup=self._lookup))
            self._asked[key] = task
            task.add_done_callback(lambda done: self._remember(key, done))
        return await asyncio.shield(task)  # one caller that gives up must not take the answer from the others

    def _remember(self, key: tuple[str, int], task: asyncio.Task[list[tuple[str, int]]]) -> None:
        del self._asked[key]
        if task.cancelled() or task.exception() is not None:
            return
        now = asyncio.get_running_loop().time()
        if len(self._known) >= 1024:
            self._known = {known: entry for known, entry in self._known.items() if entry[0] > now}
        self._known[key] = (now + self._ttl, task.result())
