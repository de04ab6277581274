import pytest
from django.db import IntegrityError, connection, transaction

from apps.catalog.models import ModelOffer, Provider
from apps.catalog.queries import load_catalog, model_exists, offer_id, provider, providers
from apps.catalog.services.offers import (
    add_model,
    add_offer,
    add_provider,
    disable_offer,
    disable_provider,
    enable_offer,
    enable_provider,
    update_offer,
    update_provider,
)
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.models import PolicyEpoch
from tests.catalog.factories import NOW, WHO, make_offer, make_provider

pytestmark = pytest.mark.django_db


def epoch() -> int:
    return PolicyEpoch.objects.get().number


def test_provider_is_described_with_its_terms() -> None:
    make_provider("acme", base_url="https://llm.acme.com/v1", resale_allowed=False, trains_on_data=True)
    found = provider("acme")
    assert found is not None
    assert (found.base_url, found.active, found.resale_allowed, found.trains_on_data) == (
        "https://llm.acme.com/v1",
        True,
        False,
        True,
    )
    assert provider("nobody") is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"id": "not a slug"}, "id"),
        ({"id": ""}, "id"),
        ({"name": ""}, "name"),
        ({"adapter": "telepathy"}, "adapter"),
        ({"terms_url": "terms"}, "terms_url"),
    ],
)
def test_provider_with_a_wrong_field_is_refused(fields: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        make_provider(**fields)
    assert refused.value.param == param
    assert not Provider.objects.exists()


def test_provider_at_a_private_address_is_refused_when_added_and_when_changed(settings) -> None:
    settings.OUTBOUND_PRIVATE_ENDPOINTS = ("10.0.0.7:8080",)
    for address in ("http://127.0.0.1:8080/v1", "http://redis:6379", "ftp://llm.acme.com"):
        with pytest.raises(BadRequest, match=r".") as refused:
            make_provider("acme", base_url=address)
        assert refused.value.code == "address_not_allowed"
    make_provider("vllm", base_url="http://10.0.0.7:8080/v1")
    with pytest.raises(BadRequest):
        update_provider("vllm", base_url="http://10.0.0.8:8080/v1", **WHO)
    assert provider("vllm").base_url == "http://10.0.0.7:8080/v1"


def test_second_provider_model_or_offer_of_the_same_name_is_a_conflict() -> None:
    make_offer()
    with pytest.raises(Conflict):
        make_provider()
    with pytest.raises(Conflict):
        add_model(id="gpt-4o-mini", name="again", **WHO)
    with pytest.raises(Conflict):
        add_offer(provider="openai", model="gpt-4o-mini", upstream_model="gpt-4o-mini", capabilities=[], **WHO)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"upstream_model": ""}, "upstream_model"),
        ({"capabilities": ["clairvoyance"]}, "capabilities"),
        ({"tokenizer": "p50k"}, "tokenizer"),
        ({"context_window": 0}, "context_window"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"quality": 1001}, "quality"),
        ({"image_tokens": 0}, "image_tokens"),
        ({"task_quality": {"juggling": 900}}, "task_quality"),
        ({"task_quality": {"code": 1001}}, "task_quality"),
        ({"task_quality": {"code": True}}, "task_quality"),
    ],
)
def test_offer_with_a_wrong_field_is_refused(fields: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        make_offer(**fields)
    assert refused.value.param == param


def test_offer_of_an_unknown_provider_or_model_is_not_found() -> None:
    make_offer()
    with pytest.raises(NotFound):
        add_offer(provider="nobody", model="gpt-4o-mini", upstream_model="m", capabilities=[], **WHO)
    with pytest.raises(NotFound):
        add_offer(provider="openai", model="nothing", upstream_model="m", capabilities=[], **WHO)


def test_offer_is_found_by_what_it_offers() -> None:
    offer = make_offer()
    assert offer_id(provider="openai", upstream_model="gpt-4o-mini", model="gpt-4o-mini") == offer
    assert offer_id(provider="openai", upstream_model="gpt-4o", model="gpt-4o-mini") is None
    assert model_exists("gpt-4o-mini")
    assert not model_exists("gpt-4o")


def test_updates_change_what_they_name_and_say_who_did_it() -> None:
    offer = make_offer()
    update_offer(offer, context_window=128_000, capabilities=["chat", "tools"], now=NOW, actor="ada")
    update_provider("openai", trains_on_data=True, now=NOW, actor="ada")
    row = ModelOffer.objects.get()
    assert (row.context_window, row.capabilities, row.quality, row.changed_by) == (
        128_000,
        ["chat", "tools"],
        None,
        "ada",
    )
    assert (row.provider.trains_on_data, row.provider.changed_by, row.provider.created_by) == (True, "ada", "test")


def test_what_the_terms_say_and_how_good_it_is_come_with_the_offer() -> None:
    terms = {"byok_allowed": False, "white_label_allowed": True, "trains_on_data": True, "notice": "Built with Acme"}
    terms["keeps_cache_control"] = True
    judged = {"image_tokens": 36_000, "quality": 700, "task_quality": {"code": 900}}
    make_offer(provider=make_provider("acme", adapter="anthropic", **terms), **judged)
    make_offer("plain", provider=make_provider("plain"))
    (found,), (plain,) = load_catalog(now=NOW).offers.values()
    assert {name: getattr(found, name) for name in terms | judged} == terms | judged
    assert found.adapter == "anthropic"
    assert (plain.byok_allowed, plain.white_label_allowed, plain.image_tokens) == (True, False, 1_600)
    assert plain.keeps_cache_control is False
    assert [(p.id, p.notice, p.byok_allowed) for p in providers()] == [
        ("acme", "Built with Acme", False),
        ("plain", "", True),
    ]


def test_update_of_what_prices_belong_to_is_refused() -> None:
    offer = make_offer()
    with pytest.raises(BadRequest):
        update_offer(offer, upstream_model="gpt-5", **WHO)
    with pytest.raises(BadRequest):
        update_provider("openai", status="disabled", **WHO)
    with pytest.raises(NotFound):
        update_offer(offer + 1, quality=1, **WHO)


def test_disabled_offer_or_provider_leaves_the_catalogue_and_comes_back() -> None:
    offer = make_offer()
    assert set(load_catalog(now=NOW).offers) == {"gpt-4o-mini"}
    disable_offer(offer, **WHO)
    assert not load_catalog(now=NOW).offers
    enable_offer(offer, **WHO)
    disable_provider("openai", now=NOW, actor="ada")
    assert not load_catalog(now=NOW).offers
    assert Provider.objects.get().changed_by == "ada"
    enable_provider("openai", **WHO)
    assert set(load_catalog(now=NOW).offers) == {"gpt-4o-mini"}
    with pytest.raises(NotFound):
        disable_provider("nobody", **WHO)


def test_every_change_of_the_catalogue_moves_the_policy_epoch() -> None:
    seen = [epoch()]
    make_provider()
    seen.append(epoch())
    offer = make_offer(provider="openai")
    seen.append(epoch())
    update_offer(offer, priority=1, **WHO)
    seen.append(epoch())
    disable_provider("openai", **WHO)
    seen.append(epoch())
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE providers SET status = 'maybe'",
        "UPDATE providers SET adapter = 'telepathy'",
        "UPDATE model_offers SET status = ''",
        "UPDATE model_offers SET quality = 1001",
        "UPDATE model_offers SET context_window = 0",
        "UPDATE model_offers SET tokenizer = 'p50k'",
        "UPDATE model_offers SET image_tokens = 0",
        "UPDATE model_offers SET task_quality = '[900]'",
        """UPDATE model_offers SET task_quality = '{"code": -1}'""",
        """UPDATE model_offers SET task_quality = '{"code": "900"}'""",
    ],
)
def test_database_refuses_what_the_services_refuse(statement: str) -> None:
    make_offer()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_provider_terms_have_no_default() -> None:
    with pytest.raises(TypeError):
        add_provider(id="acme", name="Acme", base_url="https://llm.acme.com", **WHO)  # type: ignore[call-arg]
