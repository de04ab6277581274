"""Targets: where a call can be sent, and with what."""

from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.routing import make_target
from tests.gateway.routing_factories import credential, decide, offer, table


def test_target_is_an_offer_with_a_credential_of_its_provider() -> None:
    (target,) = decide(table(offer(), credentials=(credential(), credential("other")))).targets
    assert target.base_url == "https://one.example/v1"
    assert (b"authorization", b"Bearer sk-1") in target.headers
    assert (target.mode, target.adapter, target.degraded) == ("platform", "openai_compatible", False)
    assert target.health_key == ("cred_platform_one", "one-m")
    assert "sk-1" not in repr(target)


def test_address_of_the_credential_comes_before_the_offers() -> None:
    assert make_target(offer(), credential(base_url="https://mine.example/v1")).base_url == "https://mine.example/v1"


def test_headers_of_the_adapter_are_sent_too() -> None:
    for name, adapter in ADAPTERS.items():
        headers = make_target(offer(adapter=name), credential()).headers
        assert set(adapter.extra_headers) <= set(headers)
        assert (b"content-type", b"application/json") in headers


def test_output_limit_goes_under_the_name_the_provider_takes() -> None:
    assert make_target(offer(), credential()).cap_name == "max_tokens"
    modern = offer(capabilities=frozenset({"chat", "max_completion_tokens"}))
    assert make_target(modern, credential()).cap_name == "max_completion_tokens"
