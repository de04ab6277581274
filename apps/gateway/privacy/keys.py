"""Keys and tokens that are known by their shape."""

import re
from collections.abc import Iterator

from apps.gateway.privacy.scan import Scan, Span

# Plain searches, a tenth of the time of a regular expression: without one of these there is no key.
_SIGNS = ("sk-", "AKIA", "ASIA", "AIza", "xox", "eyJ", "glpat-")
_UNDERSCORED = ("k_live_", "k_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_", "npm_")
_OWN = "mf_"
_PEM_SIGN = "PRIVATE KEY"
_KEY = re.compile(
    # At the start of a word, or behind an escaped line end in a piece of code.
    r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))(?:"
    r"(?P<mixed>sk-[A-Za-z0-9_-]{20,}+|mf_[a-z]{2,12}_[A-Za-z0-9_-]{32,}+|[prs]k_(?:live|test)_[A-Za-z0-9]{16,}+"
    r"|gh[opsru]_[A-Za-z0-9]{36,}+|github_pat_[A-Za-z0-9_]{36,}+|glpat-[A-Za-z0-9_-]{20,}+|hf_[A-Za-z0-9]{30,}+"
    r"|npm_[A-Za-z0-9]{36}|AIza[A-Za-z0-9_-]{35}|whsec_[A-Za-z0-9+/]{24,}+={0,2})"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abeoprs]-(?=[A-Za-z]{0,6}-?[0-9])[A-Za-z0-9-]{10,}+"
    r"|eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{4,}+\.[A-Za-z0-9_-]{10,}+"
    r")(?![A-Za-z0-9_])"
)
# A name may begin like a key (sk-learn-…); a key has a long piece that is no word.
_PIECE = re.compile(r"[A-Za-z0-9]{12,}+")

_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# Line ends may be escaped. An encrypted key has headers ahead of its body, and a key may be cut off.
_HEADERS = re.compile(r"(?:(?:\s|\\[nr])*+[A-Z][A-Za-z\-]{2,20}: [A-Za-z0-9,.\-]{1,80}){0,4}")
_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\[nr])*+")
_LEAST_BODY = 32


def may_hold_key(text: str) -> bool:
    """Tell cheaply whether a text may hold a key; its pieces hold none if it does not."""
    return _has_sign(text) or _PEM_SIGN in text


def _has_sign(text: str) -> bool:
    for sign in _SIGNS:
        if sign in text:
            return True
    return "_" in text and (_OWN in text or any(sign in text for sign in _UNDERSCORED))


def find_key(scan: Scan) -> Iterator[Span]:
    """Yield API keys, tokens and private keys."""
    text = scan.text
    if _has_sign(text):
        for match in _KEY.finditer(text):
            if match.lastgroup != "mixed" or _is_random(match[0]):
                yield Span(*match.span())
    if _PEM_SIGN in text:
        yield from _find_pem(text)


def _is_random(key: str) -> bool:
    return any(
        any(map(str.isdigit, piece := match[0])) and any(map(str.isalpha, piece)) for match in _PIECE.finditer(key)
    )


def _find_pem(text: str) -> Iterator[Span]:
    for opening in _BEGIN.finditer(text):
        headers_end = _HEADERS.match(text, opening.end()).end()  # type: ignore[union-attr]  # matches empty
        end = _BODY.match(text, headers_end).end()  # type: ignore[union-attr]  # matches empty
        if end - headers_end >= _LEAST_BODY:
            closing = _END.match(text, end)
            cut_off = headers_end + len(text[headers_end:end].rstrip())
            yield Span(opening.start(), closing.end() if closing else cut_off)
