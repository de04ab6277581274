"""Cost: it grows with the length of a text, whatever stands in it, and nothing is looked up without end."""

import time
from collections.abc import Callable

import phonenumbers
import pytest

from apps.gateway.privacy import Redactor, phones

HOSTILE = {
    "plus": "+1-",
    "at": "@@@@",
    "address": "a@",
    "mail": "a@b.",
    "mails": "a@b.co ",
    "digits": "1234567890",
    "spaced": "1 2 3 4 5 6 7 ",
    "zeros": "0 ",
    "grouped": "(01) 23-45 ",
    "phones": "01 23 45 67 89 ",
    "mobiles": "13812345678 ",
    "ibans": "DE89 3704 0044 0532 0130 01 ",
    "capitals": "AB12",
    "cards": "4111 1111 1111 1112 ",
    "dots": "1.2.3.",
    "colons": ":",
    "ipv6": "2001:db8:",
    "double": "a::",
    "houses": "1 A ",
    "streets": "12 Main Main Main Main Main ",
    "chinese": "路1号",
    "districts": "省市区路",
    "count": "一二三",
    "tails": "北京市路1号1号",
    "jwt": "eyJaaaaaaaa.",
    "keys": "sk-",
    "key": "sk-a1",
    "pem": "-----BEGIN PRIVATE KEY-----",
    "pem_body": "-----BEGIN PRIVATE KEY-----\nA: b\n",
    "brackets": "[EMAIL_",
    "literals": "[EMAIL_1] ",
    "arrays": "[",
    "quotes": '"b":"',
    "escapes": '"b": \\',
    "spaces": '"b"     ',
    "wide": "1@",
}
LENGTH = 30_000


def cost(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("name", HOSTILE)
def test_cost_grows_with_the_length(name: str) -> None:
    """Four times the text takes about four times as long: a quadratic step would take sixteen."""
    text = HOSTILE[name] * (4 * LENGTH // len(HOSTILE[name]))

    def redact(length: int) -> float:
        return cost(lambda: Redactor(sensitive_fields=("b",)).redact_text(text[:length]))

    # The short one gets a floor, so that what takes no time at all is not compared.
    assert redact(4 * LENGTH) < 10 * max(redact(LENGTH), 0.002)


def test_look_ups_are_bounded_and_what_has_the_shape_is_taken_then(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    parse = phonenumbers.parse
    monkeypatch.setattr(phonenumbers, "parse", lambda *given: asked.append(given) or parse(*given))
    monkeypatch.setattr(phones, "MOST_LOOKUPS", 40)
    numbers = [f"0{index:03d} 11 22 {index:02d}" for index in range(100, 200)]
    redactor = Redactor(detectors=("phone",))
    redacted = redactor.redact_text("; ".join(numbers))
    assert len(asked) == 40
    assert redacted.endswith("]")
    asked.clear()
    Redactor(detectors=("phone",)).redact_text("; ".join(["0100 11 22 33"] * 50))
    assert 0 < len(asked) <= len(phones.REGIONS)
