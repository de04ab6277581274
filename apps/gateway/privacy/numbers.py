"""Numbers that carry a check digit: cards, IBANs, Chinese identity numbers."""

import re
from collections.abc import Iterator

from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from apps.gateway.privacy.scan import Scan, Span, digits_of

# Neither a piece of a longer number, of a name, nor of an identifier such as a UUID.
_ALONE = r"(?<![A-Za-z0-9_])(?<![0-9][.\-/])(?<![0-9a-f]-)"
_ENDED = r"(?![A-Za-z0-9_]|[.\-/][0-9A-Za-z])"
_CARD = re.compile(
    _ALONE + r"(?:[2-9][0-9]{12,18}"
    r"|[2-9][0-9]{3}(?P<by>[ \-])[0-9]{4}(?P=by)[0-9]{4}(?P=by)[0-9]{1,4}(?:(?P=by)[0-9]{3})?"
    r"|3[0-9]{3}(?P<by3>[ \-])[0-9]{6}(?P=by3)[0-9]{4,5}"
    r"|62[0-9]{4}(?P<by6>[ \-])[0-9]{13})" + _ENDED
)
# Issuer prefixes with the lengths of their numbers (ISO/IEC 7812): Visa, Mastercard, American Express, Diners,
# Discover, JCB, UnionPay, Maestro, Mir.
_ISSUERS = (
    (re.compile("4"), {13, 16, 19}),
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile("3[47]"), {15}),
    (re.compile("30[0-5]|309|36|3[89]"), {14, 16}),
    (re.compile("6011|64[4-9]|65"), {16, 19}),
    (re.compile("352[89]|35[3-8]"), {16, 19}),
    (re.compile("62|81"), {16, 17, 18, 19}),
    (re.compile("50|5[6-9]|6[37]"), {16, 19}),
    (re.compile("220[0-4]"), {16, 19}),
)


_CARD_LEAST = 13


def find_card(scan: Scan) -> Iterator[Span]:
    """Yield payment card numbers: an issuer's prefix and length, and Luhn's check digit."""
    for match in scan.inside_runs(_CARD, _CARD_LEAST):
        number = digits_of(match[0])
        issued = any(prefix.match(number) and len(number) in lengths for prefix, lengths in _ISSUERS)
        if issued and len(set(number)) > 1 and luhn.is_valid(number):
            yield Span(*match.span())


# Lengths of the registry (ISO 13616) lie between these.
_IBAN_LEAST, _IBAN_MOST = 15, 34
_IBAN = re.compile(
    # What stands ahead is looked at second: a pattern that begins with a set of letters is searched much faster.
    r"[A-Z](?<![A-Za-z0-9_].)[A-Z][0-9]{2}"
    r"(?:[A-Z0-9]{11,30}+|(?:[ \-][A-Z0-9]{4}){2,7}(?:[ \-][A-Z0-9]{1,4})?)(?![a-z0-9_])"
    r"|[a-z](?<![A-Za-z0-9_].)[a-z][0-9]{2}[a-z]{0,4}[0-9]{9,30}+(?![A-Za-z0-9_])"
)


def find_iban(scan: Scan) -> Iterator[Span]:
    """Yield IBANs: the country's structure and the check digits are right."""
    if not scan.runs:
        return
    text = scan.text
    for match in _IBAN.finditer(text):
        # A word in capitals may follow: "DE89 … 00 EUR".
        end = match.end()
        while end - match.start() >= _IBAN_LEAST:
            if _is_iban(text[match.start() : end]):
                yield Span(match.start(), end)
                break
            end = max(text.rfind(" ", match.start(), end), text.rfind("-", match.start(), end))


def _is_iban(text: str) -> bool:
    compact = text.replace(" ", "").replace("-", "").upper()
    if not _IBAN_LEAST <= len(compact) <= _IBAN_MOST:
        return False
    # ISO 7064: cheaper than the library's look-up, and wrong for all but one candidate in 97.
    if int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 != 1:
        return False
    return iban.is_valid(compact, check_country=False)


_CHINESE_ID_DIGITS = 17
_CHINESE_ID = re.compile(
    r"(?<![A-Za-z0-9_])(?<![0-9][.\-])[1-8][0-9]{5}[ ]?(?:18|19|20)[0-9]{6}[ ]?[0-9]{3}[0-9Xx](?![A-Za-z0-9_])"
)
# GB/T 2260: the first two digits of every county.
_PROVINCE = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")


def find_chinese_id(scan: Scan) -> Iterator[Span]:
    """Yield Chinese identity numbers of 18 characters: a province, a date of birth and the check digit are right."""
    for match in scan.inside_runs(_CHINESE_ID, _CHINESE_ID_DIGITS):
        number = match[0].replace(" ", "").upper()
        if _PROVINCE.match(number) and number[-1] == ric.calc_check_digit(number) and _has_birth_date(number):
            yield Span(*match.span())


def _has_birth_date(number: str) -> bool:
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return False
    return True
