"""What a request wants of its route: read, checked, and kept from the provider."""

from typing import Any

import msgspec
import pytest

from apps.core.errors import BadRequest
from apps.gateway.routing import Wish, read_wish
from apps.gateway.wire import parse_chat


def read(member: Any = None, headers: dict[str, str] | None = None, **members: Any) -> Wish:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}
    if member is not None:
        body["modelfaucet"] = member
    request = parse_chat(msgspec.json.encode(body))
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    wish = read_wish(request, pairs, classify=lambda: "code", hour=7)
    assert "modelfaucet" not in request.members
    assert b"modelfaucet" not in request.render(model="m", output_cap=1, cap_name="max_tokens")
    return wish


def test_request_without_wishes() -> None:
    wish = read()
    assert (wish.model, wish.policy, wish.prefer, wish.max_price, wish.min_quality) == ("m", None, None, None, None)
    assert (wish.needs, wish.require, wish.local, wish.hour) == (frozenset({"chat"}), frozenset(), (), 7)
    assert wish.task_class == "code"


def test_member_says_what_is_wanted() -> None:
    member = {
        "policy": "cheapest_sufficient",
        "max_price_usd": "0.002",
        "min_quality": 0.85,
        "prefer": "byok",
        "require": ["tools", "json"],
    }
    wish = read(member)
    assert (wish.policy, wish.max_price, wish.min_quality, wish.prefer) == (
        "cheapest_sufficient",
        2_000_000,
        850,
        "byok",
    )
    assert wish.require == {"tools", "json"}


def test_headers_say_the_same_and_the_member_comes_first() -> None:
    headers = {
        "x-modelfaucet-policy": "quality_first",
        "x-modelfaucet-max-price-usd": " 0.5 ",
        "x-modelfaucet-min-quality": "0.5",
        "x-modelfaucet-prefer": "local",
        "x-modelfaucet-require": "vision, tools",
        "x-modelfaucet-clamp": "off",
    }
    wish = read(None, headers)
    assert (wish.policy, wish.max_price, wish.min_quality, wish.prefer) == ("quality_first", 500_000_000, 500, "local")
    assert wish.require == {"vision", "tools"}
    both = read({"policy": "latency_first", "prefer": None}, headers)
    assert (both.policy, both.prefer) == ("latency_first", "local")


@pytest.mark.parametrize(
    ("written", "nano"), [(0.1, 100_000_000), (1, 10**9), (1e-06, 1_000), ("0.000000001", 1), (0, 0)]
)
def test_price_is_taken_as_it_was_written(written: Any, nano: int) -> None:
    assert read({"max_price_usd": written}).max_price == nano


@pytest.mark.parametrize(
    ("member", "param"),
    [
        ("cheap", "modelfaucet"),
        ({"polcy": "quality_first"}, "modelfaucet"),
        ({"policy": "fastest"}, "modelfaucet.policy"),
        ({"prefer": "platform"}, "modelfaucet"),
        ({"min_quality": 1.5}, "modelfaucet.min_quality"),
        ({"min_quality": -0.1}, "modelfaucet.min_quality"),
        ({"max_price_usd": "much"}, "modelfaucet.max_price_usd"),
        ({"max_price_usd": "NaN"}, "modelfaucet.max_price_usd"),
        ({"max_price_usd": -1}, "modelfaucet.max_price_usd"),
        ({"max_price_usd": "0.0000000001"}, "modelfaucet.max_price_usd"),
        ({"require": ["clairvoyance"]}, "modelfaucet.require"),
    ],
)
def test_wish_that_cannot_be_read_is_refused_by_name(member: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(member)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", "x"),
        ("prefer", "x"),
        ("min-quality", "x"),
        ("min-quality", "nan"),
        ("require", "x"),
        ("max-price-usd", ""),
    ],
)
def test_header_that_cannot_be_read_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequest):
        read(None, {f"x-modelfaucet-{name}": value})


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({"stream": True}, {"stream"}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"tools": None}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"response_format": {"type": "json_object"}}, {"json"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]}, {"vision"}),
        ({"messages": [{"role": "user", "content": 'Say {"type": "image_url"} and "type":"input_audio"'}]}, set()),
    ],
)
def test_request_implies_what_it_needs(members: dict[str, Any], needs: set[str]) -> None:
    assert read(None, None, **members).needs == {"chat"} | needs


def test_embeddings_need_a_model_that_embeds() -> None:
    request = parse_chat(b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}')
    assert read_wish(request, [], classify=str, hour=0, operation="embeddings").needs == {"embeddings"}
