from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint

from apps.catalog.models import ModelOffer, PriceImport, PriceProposal, PriceVersion
from apps.catalog.queries import PriceTier, load_catalog, prices_in_force
from apps.catalog.services.imports import ImportReport, propose_from_genai_prices
from apps.catalog.services.offers import enable_offer, update_offer
from apps.catalog.services.prices import publish_price
from apps.catalog.services.proposals import approve_proposal, propose_price, reject_proposal
from apps.core.errors import BadRequest, Conflict, NotFound
from tests.catalog.factories import NOW, WHO, amount, make_offer, make_provider, source_model, source_provider, tier

pytestmark = pytest.mark.django_db
MINI = PriceTier(0, 150_000_000, 75_000_000, 150_000_000, 600_000_000)


def run(*models: Any, **options: Any) -> ImportReport:
    return propose_from_genai_prices(catalogue=[source_provider("openai", *models)], **(WHO | options))


def priced(input: str, output: str = "1") -> ModelPrice:
    return ModelPrice(input_mtok=amount(input), output_mtok=amount(output))


def test_new_price_of_an_offer_is_proposed_once_and_then_unchanged() -> None:
    offer = make_offer()
    report = run(source_model())
    row = PriceProposal.objects.get()
    assert report.proposed == (row.id,)
    assert (row.offer_id, row.source, row.valid_from, row.current) == (offer, "genai-prices", None, None)
    again = run(source_model())
    assert (again.proposed, again.unchanged) == ((), 1)
    approve_proposal(row.id, **WHO)
    assert prices_in_force([offer], now=NOW)[offer].tiers == (MINI,)
    after = run(source_model())
    assert (after.proposed, after.unchanged, after.superseded) == ((), 1, 0)
    assert PriceProposal.objects.count() == 1


def test_changed_price_is_proposed_beside_the_current_one() -> None:
    offer = make_offer()
    version = publish_price(offer, [MINI], NOW - timedelta(days=1), "operator", **WHO)
    run(source_model(prices=priced("15")))
    row = PriceProposal.objects.get()
    assert row.current["version_id"] == version
    assert row.current["tiers"][0]["input"] == 150_000_000
    assert row.proposed["tiers"][0]["input"] == 15_000_000_000
    assert "the input price changes more than tenfold" in row.notes
    assert prices_in_force([offer], now=NOW)[offer].version_id == version


def test_source_that_changes_again_supersedes_its_pending_proposal() -> None:
    make_offer()
    first = run(source_model(prices=priced("1")))
    second = run(source_model(prices=priced("2")))
    assert second.superseded == 1
    assert dict(PriceProposal.objects.values_list("id", "state")) == {
        first.proposed[0]: "superseded",
        second.proposed[0]: "pending",
    }


def test_pending_proposal_is_closed_when_the_source_no_longer_says_so() -> None:
    offer = make_offer()
    publish_price(offer, [MINI], NOW - timedelta(days=1), "operator", **WHO)
    run(source_model(prices=priced("2")))
    report = run(source_model())
    assert (report.superseded, report.unchanged) == (1, 1)
    assert PriceProposal.objects.get().state == "superseded"


def test_declined_price_is_not_proposed_again_until_something_differs() -> None:
    make_offer()
    (proposal,) = run(source_model()).proposed
    reject_proposal(proposal, **WHO)
    again = run(source_model())
    assert (again.proposed, again.declined_before) == ((), 1)
    assert len(run(source_model(prices=priced("9"))).proposed) == 1


def test_proposal_of_an_operator_is_left_to_be_decided_first() -> None:
    offer = make_offer()
    propose_price(offer, [tier(input=1)], **WHO)
    assert run(source_model()).proposed == ()
    assert PriceProposal.objects.get().source == "operator"


def test_missing_price_is_left_as_it_is_and_reported() -> None:
    offer = make_offer()
    version = publish_price(offer, [MINI], NOW - timedelta(days=1), "operator", **WHO)
    report = run(source_model("gpt-4o"), source_model("other", prices=ModelPrice()))
    assert report.not_in_source == ("openai: gpt-4o-mini",)
    assert report.not_representable == ("openai: other: input_mtok is missing",)
    assert prices_in_force([offer], now=NOW)[offer].version_id == version
    report = run(source_model("gpt-4o"), source_model(prices=ModelPrice(input_mtok=amount("1"))), offered_only=True)
    assert report.not_representable == ("openai: gpt-4o-mini: output_mtok is missing",)
    assert not PriceProposal.objects.filter(offer=offer).exists()


def test_announced_price_is_proposed_for_its_date() -> None:
    offer = make_offer()
    july = datetime(2026, 7, 1, tzinfo=UTC)
    prices = [
        ConditionalPrice(prices=priced("1")),
        ConditionalPrice(StartDateConstraint(start_date=date(2026, 7, 1)), prices=priced("2")),
    ]
    report = run(source_model(prices=prices))
    assert len(report.proposed) == 2
    for proposal in report.proposed:
        approve_proposal(proposal, **WHO)
    assert list(PriceVersion.objects.order_by("valid_from").values_list("valid_from", flat=True)) == [NOW, july]
    assert prices_in_force([offer], now=july)[offer].tiers[0].input == 2 * 10**9
    again = run(source_model(prices=prices))
    assert (again.proposed, again.unchanged) == ((), 2)


def test_model_that_is_not_offered_becomes_a_disabled_offer() -> None:
    make_provider()
    (proposal,) = run(source_model(name="GPT-4o mini", context_window=128_000)).proposed
    assert not ModelOffer.objects.exists()
    approve_proposal(proposal, **WHO)
    row = ModelOffer.objects.get()
    assert (row.status, row.model_id, row.model.name, row.context_window) == (
        "disabled",
        "gpt-4o-mini",
        "GPT-4o mini",
        128_000,
    )
    assert not load_catalog(now=NOW).offers
    update_offer(row.id, capabilities=["chat"], **WHO)
    enable_offer(row.id, **WHO)
    (offer,) = load_catalog(now=NOW).offers["gpt-4o-mini"]
    assert offer.price is not None
    assert offer.price.tiers == (MINI,)
    assert run(source_model()).proposed == ()


def test_model_offered_and_priced_since_the_proposal_keeps_its_price() -> None:
    make_provider()
    (proposal,) = run(source_model()).proposed
    offer = make_offer(provider="openai")
    publish_price(offer, [tier(input=1)], NOW - timedelta(days=1), "operator", **WHO)
    with pytest.raises(Conflict):
        approve_proposal(proposal, **WHO)


def test_deprecated_models_and_models_not_offered_are_left_out_where_asked() -> None:
    make_provider()
    assert run(source_model(deprecated=True)).proposed == ()
    assert run(source_model(), offered_only=True).proposed == ()
    assert not PriceProposal.objects.exists()


def test_embeddings_need_no_output_price_only_when_nothing_else_is_offered() -> None:
    make_offer("embed", capabilities=["embeddings"])
    make_offer("both", provider="openai", capabilities=["chat", "embeddings"])
    only_input = ModelPrice(input_mtok=amount("0.02"))
    report = run(source_model("embed", prices=only_input), source_model("both", prices=only_input))
    assert len(report.proposed) == 1
    assert report.not_representable == ("openai: both: output_mtok is missing",)


def test_import_looks_only_at_the_providers_that_are_named() -> None:
    make_offer()
    make_provider("acme", base_url="https://llm.acme.com/v1")
    assert run(source_model(), providers=["acme"]).proposed == ()
    assert len(run(source_model(), providers=["openai"]).proposed) == 1
    with pytest.raises(NotFound):
        run(source_model(), providers=["nobody"])


@pytest.mark.parametrize("model", [source_model("bad", prices=priced("-1")), "not a model"])
def test_malformed_source_is_refused_as_a_whole_and_remembered(model: Any) -> None:
    make_offer()
    with pytest.raises(BadRequest) as refused:
        run(source_model(), model)
    assert refused.value.code == "price_source_refused"
    assert not PriceProposal.objects.exists()
    row = PriceImport.objects.get()
    assert (row.state, row.proposals_made, row.created_by) == ("refused", 0, "test")
    assert row.reason in refused.value.message


def numbered(count: int) -> list[Any]:
    return [source_model(f"m{number}") for number in range(count)]


def test_shrunken_source_is_refused_until_it_is_accepted() -> None:
    make_provider()
    run(*numbered(10), offered_only=True)
    run(*numbered(8), offered_only=True)
    with pytest.raises(BadRequest, match="6 priced models where there were 8"):
        run(*numbered(6))
    assert not PriceProposal.objects.exists()
    with pytest.raises(BadRequest):  # a refused import is no measure for the next
        run(*numbered(6))
    assert len(run(*numbered(6), accept_shrink=True).proposed) == 6
    assert run(*numbered(6)).unchanged == 6


def test_source_that_lists_as_many_models_without_prices_has_shrunk() -> None:
    make_provider()
    run(*numbered(10), offered_only=True)
    with pytest.raises(BadRequest):
        run(*(source_model(f"m{number}", prices=ModelPrice()) for number in range(10)))


def test_source_that_loses_one_provider_of_ours_is_refused_even_if_it_grows() -> None:
    make_provider()
    full = [source_provider("openai", *numbered(3)), source_provider("big", *numbered(100), pattern="big")]
    propose_from_genai_prices(catalogue=full, offered_only=True, **WHO)
    without = [source_provider("big", *numbered(200), pattern="big")]
    with pytest.raises(BadRequest, match="openai: 0 priced models where there were 3"):
        propose_from_genai_prices(catalogue=without, **WHO)


def test_command_imports_the_installed_package_and_approval_serves_it() -> None:
    offer = make_offer()
    out = StringIO()
    call_command("import_prices", "--provider", "openai", "--offered-only", stdout=out)
    assert "1 proposals to decide" in out.getvalue()
    row = PriceProposal.objects.get()
    assert row.created_by == "command:import_prices"
    approve_proposal(row.id, **WHO)
    assert prices_in_force([offer], now=NOW)[offer].tiers[0].input > 0


def test_command_fails_clearly() -> None:
    with pytest.raises(CommandError, match="no provider nobody"):
        call_command("import_prices", "--provider", "nobody", stdout=StringIO())
