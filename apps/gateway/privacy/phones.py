"""Telephone numbers: by their shape first, then by the numbering plans that `phonenumbers` knows.

A number in international form is taken where its country has such numbers. One in national form has no country, so
it counts where its shape is a telephone's (a trunk 0, a North American 3-3-4, a Chinese mobile) and a plausible
region has it, or where a word such as "tel" or 电话 stands right before it.
"""

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import PhoneNumberType

from apps.gateway.privacy.scan import Scan, Span, digits_of

# Regions a national number is looked up in, in this order.
REGIONS = ("CN", "US", "GB", "DE", "FR", "JP", "KR", "IN", "AU", "IT", "TW", "NL", "BR", "TR")
# Where a number with its trunk 0 is commonly written in one piece; elsewhere ten digits may be anything.
_IN_ONE_PIECE = frozenset(("CN", "GB", "FR", "DE", "JP", "AU", "TW"))
# A look-up takes about 25 µs. After as many in one text, a number that has the shape is taken for one.
MOST_LOOKUPS = 1_000
_LEAST, _MOST = 7, 15

_SHAPE = re.compile(
    r"(?<![A-Za-z0-9_$€£¥+])(?<![0-9][.\-/,:])(?:"
    r"(?P<plus>(?:\(?\+|(?<![.\-(/])00(?=[1-9][0-9]{0,2}[ .\-(]))[ ]?\(?[1-9](?:[ ().\-/]{0,3}[0-9]){6,16})"
    r"|(?P<mobile>1[3-9][0-9](?P<by>[ \-]?)[0-9]{4}(?P=by)[0-9]{4})"
    r"|(?P<service>[48]00(?P<by2>[ \-])[0-9]{3}(?P=by2)?[0-9]{4}|400[0-9]-[0-9]{3}-[0-9]{3})"
    r"|(?P<nanp>(?:1[ .\-])?(?:\([2-9][0-9]{2}\)[ .\-]?|[2-9][0-9]{2}[ .\-])[2-9][0-9]{2}[ .\-][0-9]{4})"
    r"|(?P<trunk>(?:\(0[1-9][0-9]{0,4}\)[ .\-]?|0[1-9][0-9]{0,4}[ .\-/]{1,3})[0-9]{2,8}(?:[ .\-/][0-9]{2,8}){0,4}"
    r"|0[1-9][0-9]{8,10})"
    r")(?![A-Za-z0-9_]|[.,:\-/][0-9])"
)
_DATE = re.compile(
    r"(?:0?[0-9]|[12][0-9]|3[01])[./\- ](?:0?[0-9]|1[0-2]|[12][0-9]|3[01])[./\- ](?:(?:19|20)?[0-9]{2})(?![0-9])"
)

# What a telephone number follows, and what a number of another kind follows.
_CALLED = re.compile(
    r"(?:(?<![a-z])(?:tel|telephone|phone|mobile|cell|fax|whatsapp|mob|ph)|手机|电话|座机|传真|热线|致电|手機|電話"
    r"|(?<![a-z])(?:call|reach|text|dial|ring)(?: (?:me|us|him|her|them))? (?:at|on))"
    r"(?:[ ]?(?:number|no|nr|is|号码?|號碼?|是|为))*[\s.:：=#\"']*$"
)
_COUNTED = re.compile(
    r"(?:(?<![a-z])(?:order|invoice|ticket|tracking|sku|isbn|issn|case|ref|reference|serial|account|qq|amount|total|batch)"
    r"|订单|单号|编号|流水号|账号|快递|批次|编码|金额|[#$€£¥№])"
    r"(?:[ _\-]?(?:number|no|nr|id|is|号码?|是|为))*[\s.:：=#\"'(]*$"
)
_AFTER_WORD = re.compile(r"[+(]{0,2}[0-9](?:[ ().\-]{0,2}[0-9]){6,14}(?![A-Za-z0-9_])")
_WINDOW = 24


class PhoneDetector:
    """Find telephone numbers; `regions` are the countries (ISO 3166) that a national number is looked up in."""

    def __init__(self, regions: tuple[str, ...] = REGIONS) -> None:
        unknown = set(regions) - set(phonenumbers.SUPPORTED_REGIONS)
        if unknown:
            raise ValueError(f"no region of telephone numbers: {', '.join(sorted(unknown))}")
        self._regions = regions
        for region in regions:  # read from disk now, not in a request
            phonenumbers.PhoneMetadata.metadata_for_region(region)

    def __call__(self, scan: Scan) -> Iterator[Span]:
        if not scan.runs:
            return
        lookup = _Lookup(self._regions)
        for start, _, _ in scan.runs:
            match = _AFTER_WORD.match(scan.text, start)
            if match and _CALLED.search(scan.before(start, _WINDOW)):
                yield Span(*match.span())
        for match in scan.inside_runs(_SHAPE, _LEAST):
            if match["plus"] is None and _COUNTED.search(scan.before(match.start(), _WINDOW)):
                continue
            if end := _end_of_phone(match, lookup):
                yield Span(match.start(), end)


def _end_of_phone(match: re.Match[str], lookup: "_Lookup") -> int:
    """Return where the number that has a telephone's shape ends, 0 where it is none."""
    text = match[0]
    if match["mobile"] or match["service"]:
        return match.end()
    if match["plus"]:
        while True:
            if lookup.is_international(text):
                return match.start() + len(text)
            # A number of another kind may follow behind a space.
            text = text[: max(text.rfind(" "), text.rfind("/"), 0)].rstrip(" (/")
            if len(digits_of(text)) < _LEAST:
                return 0
    if not _LEAST < len(digits_of(text)) <= _MOST or _DATE.match(text):
        return 0
    return match.end() if lookup.is_national(text, is_american=bool(match["nanp"])) else 0


class _Lookup:
    """Numbers of one text in the numbering plans, each looked up once and all of them boundedly often."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        self._regions = regions
        self._left = MOST_LOOKUPS
        self._known: dict[str, bool] = {}

    def is_international(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            number = digits_of(text)
            known = self._is_valid("+" + (number[2:] if "+" not in text else number), None, text)
            self._known[text] = known
        return known

    def is_national(self, text: str, *, is_american: bool) -> bool:
        known = self._known.get(text)
        if known is None:
            regions = ("US",) if is_american else self._regions
            known = self._known[text] = any(self._is_valid(text, region, text) for region in regions)
        return known

    def _is_valid(self, number: str, region: str | None, text: str) -> bool:
        if self._left <= 0:
            return True
        self._left -= 1
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            return False
        if not phonenumbers.is_valid_number(parsed):
            # Numbers of examples and films (+1 555 …) have the length but no subscriber.
            return region is None and (" " in text or "-" in text) and phonenumbers.is_possible_number(parsed)
        if not text.isdigit() or region == "CN":
            return True
        return region in _IN_ONE_PIECE and phonenumbers.number_type(parsed) is PhoneNumberType.MOBILE
