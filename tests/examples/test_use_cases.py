"""The cards of docs/use-cases.md: their amounts are what calls are rated at, and what they name is there."""

import re
from dataclasses import dataclass

import pytest

from apps.catalog.queries import Price, PriceTier
from apps.core.money import nano_from_usd
from apps.features.queries import Terms
from apps.usage.rate import BYOK, DEVELOPER_KEY, LOCAL, PLATFORM, Charge, Overheads, Tokens, rate
from tests.test_house import ROOT

PAGE = (ROOT / "docs" / "use-cases.md").read_text()
CARDS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
HEADS = ["Who pays", "Mode", "Template", "What the end user sees", "What the developer earns", "Example"]
LEGS = ("price", "margin", "developer", "platform")


@dataclass(frozen=True)
class Case:
    """How a card's call is rated."""

    mode: str
    cost: str = "0"
    fixed: str = ""
    fee: str = "0"

    def charge(self) -> Charge:
        fee = nano_from_usd(self.fee)
        terms = Terms(
            id=1,
            platform_pricing="fixed" if self.fixed else "markup",
            markup_bps=4_000,
            fixed_price=nano_from_usd(self.fixed or "0"),
            developer_pricing="fee_only",
            own_price=0,
            gateway_fee=fee,
            byok_fee=fee,
            local_fee=fee,
            share_bps=4_000,
        )
        price = Price("pv_1", (PriceTier(0, nano_from_usd(self.cost) * 1_000, 0, 0, 0),))
        return rate(Tokens(input=1_000), price, terms, mode=self.mode, overheads=Overheads())


CASES = {
    "SaaS web app": Case(PLATFORM, "0.0100"),
    "Browser extension": Case(PLATFORM, "0.0100"),
    "Desktop app, own key or own machine": Case(BYOK, "0.0100"),
    "Commerce": Case(PLATFORM, "0.0042", fixed="0.0060"),
    "Internal knowledge": Case(DEVELOPER_KEY, "0.0100"),
}


def rows() -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells[2:]}


def amount(text: str) -> int:
    return nano_from_usd(text)


@pytest.mark.parametrize("title", CASES)
def test_amounts_of_a_card_are_what_its_call_is_rated_at(title: str) -> None:
    cost, _, price, margin, developer, platform = rows()[title]
    charge = CASES[title].charge()
    assert amount(cost) == charge.cost
    assert [amount(each) for each in (price, margin, developer, platform)] == [getattr(charge, leg) for leg in LEGS]


def test_every_row_is_looked_at() -> None:
    assert set(rows()) == set(CASES)


@pytest.mark.parametrize("mode", [BYOK, LOCAL])
def test_fee_on_a_route_of_ones_own_is_shared_as_the_page_says(mode: str) -> None:
    text = CARDS["Desktop app"]
    fee, developer, platform = re.findall(r"0\.00\d\d", text)
    charge = Case(mode, fee=fee).charge()
    assert (amount(fee), amount(developer), amount(platform)) == (charge.price, charge.developer, charge.platform)


def test_allowance_costs_its_developer_the_price_less_the_share() -> None:
    share, cost, price, net = re.findall(r"0\.0\d{3}", CARDS["Browser extension"])
    charge = CASES["Browser extension"].charge()
    assert (amount(share), amount(cost), amount(price)) == (charge.developer, charge.cost, charge.price)
    assert amount(net) == charge.price - charge.developer


@pytest.mark.parametrize("title", CARDS)
def test_card_is_whole_and_what_it_names_is_there(title: str) -> None:
    heads = re.findall(r"^(\w.+)\n: ", CARDS[title], re.M)
    assert heads == HEADS
    (templates,) = re.findall(r"^Template\n: (.*?)\n\n", CARDS[title], re.M | re.S)
    names = re.findall(r"`([\w-]+)`", templates)
    assert names
    for name in names:
        assert (ROOT / "apps" / "features" / "templates_library" / f"{name}.en.yaml").exists()
    examples = re.findall(r"`(examples/[\w-]+)`", CARDS[title])
    assert examples and all((ROOT / path / "README.md").exists() for path in examples)


def test_list_of_examples_has_each_of_them() -> None:
    listed = set(re.findall(r"\]\(([\w-]+)/README\.md\)", (ROOT / "examples" / "README.md").read_text()))
    assert listed == {path.parent.name for path in ROOT.glob("examples/*/README.md")}
