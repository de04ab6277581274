"""E-mail addresses and addresses of machines."""

import ipaddress
import re
from collections.abc import Iterator

from apps.gateway.privacy.scan import Scan, Span

# RFC 5321: 64 characters ahead of the @, 255 behind it.
_LOCAL_MOST = 64
_DOMAIN_MOST = 255
_LETTER = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-'")
_LABELS = re.compile(rf"[{_LETTER}.-]*+")
# icon@2x.png, image@sha.tar: a file, not a host.
_FILE = re.compile(
    r"(?:png|jpe?g|gif|svg|webp|ico|avif|s?css|jsx?|[mc]js|tsx?|json|ya?ml|toml|lock|txt|java|kt|swift|[ch]pp|php|sql"
    r"|html?|xml|csv|pdf|zip|tgz|gz|tar|whl|jar|exe|dll|map|log)$",
    re.IGNORECASE,
)


# a@b.mean(axis=0): a matrix product and a method.
_CALL = re.compile(r"\((?:\)|-?[0-9]|[a-z_]{1,20}=)")


def find_email(scan: Scan) -> Iterator[Span]:
    """Yield e-mail addresses."""
    text = scan.text
    floor = 0
    at = text.find("@")
    while at >= 0:
        start = at
        least = max(floor, at - _LOCAL_MOST)
        while start > least and (text[start - 1] in _LOCAL or _is_latin(text[start - 1])):
            start -= 1
        while start < at and text[start] in ".'":
            start += 1
        if (
            start < at
            and text[at - 1] != "."
            and (end := _domain_end(text, at))
            and not _is_remote(text, start, at, end)
        ):
            yield Span(start, end)
            floor = end
        at = text.find("@", at + 1)


def _is_latin(sign: str) -> bool:
    return "\u00c0" <= sign <= "\u024f" and sign not in "×÷"


def _domain_end(text: str, at: int) -> int:
    """Return where the host that follows the @ ends, 0 where none does."""
    window_end = _LABELS.match(text, at + 1, at + 1 + _DOMAIN_MOST).end()  # type: ignore[union-attr]  # matches empty
    # The last label may be followed by a dot or hyphen that belongs to the sentence.
    host = text[at + 1 : window_end].rstrip(".-")
    labels = host.split(".")
    last = labels[-1]
    if len(labels) < 2 or not 2 <= len(last) <= 24 or not last.isalpha():
        return 0
    if any(not label or label[0] == "-" or label[-1] == "-" or len(label) > 63 for label in labels):
        return 0
    if _FILE.match(last):
        return 0
    end = at + 1 + len(host)
    return 0 if _CALL.match(text, end) else end


def _is_remote(text: str, start: int, at: int, end: int) -> bool:
    """Tell git@host:path from an address."""
    return text[end : end + 1] == ":" and text[start:at] == "git"


_OCTETS = 4
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![A-Za-z0-9_.])(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9_]|\.[A-Za-z0-9]|-[A-Za-z])")
# What a version or a section follows. Chrome/120.0.0.0 is one, https://10.1.2.3 is none.
_NOT_IP = re.compile(
    r"(?:(?<![a-z])(?:version|ver\.?|release|build|firmware|section|chapter|figure|table|oid|clause|kernel|v)"
    r"|[=<>!~^]=|[a-z0-9_)]/|[\^~§]|版本号?|[章节第])[\s:=：\"'(]*$"
)
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6_TAIL = re.compile(r"[0-9A-Fa-f:.]{0,45}+")
_HEX = frozenset("0123456789abcdefABCDEF")
_MASK = re.compile(r"25[245]\.")


def find_ip(scan: Scan) -> Iterator[Span]:
    """Yield IPv4 and IPv6 addresses; neither loopback and masks nor versions."""
    for match in scan.inside_runs(_IPV4, _OCTETS):
        address = match[0]
        if address.startswith(("0.", "127.")) or _MASK.match(address):
            continue
        if not _NOT_IP.search(scan.before(match.start(), 16)):
            yield Span(*match.span())
    if "::" in scan.text or scan.text.count(":") >= 7:
        yield from _find_ipv6(scan.text)


def _find_ipv6(text: str) -> Iterator[Span]:
    position = 0
    while match := _COLONS.search(text, position):
        start = match.start()
        least = max(position, start - 4)
        while start > least and text[start - 1] in _HEX:
            start -= 1
        end = _IPV6_TAIL.match(text, match.start()).end()  # type: ignore[union-attr]  # matches empty
        position = max(end, match.end())
        neighbours = text[start - 1 : start] + text[end : end + 1]
        if any(sign.isascii() and (sign.isalnum() or sign in "_:") for sign in neighbours):
            continue
        whole = text[start:end].rstrip(".")
        if whole.endswith(":") and not whole.endswith("::"):
            whole = whole[:-1]
        if _is_public_ipv6(whole):
            yield Span(start, start + len(whole))


def _is_public_ipv6(text: str) -> bool:
    """Tell whether a text is an address that a machine has: global, unique local, link local or mapped.

    A name such as `face::b00c` in code reads like one too; no machine has it.
    """
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    if address.ipv4_mapped is not None:
        return True
    first = address.packed[0]
    return 0x20 <= first <= 0x3F or first in (0xFC, 0xFD) or (first == 0xFE and 0x80 <= address.packed[1] <= 0xBF)
