"""What the console's pages of apps and features stand on: prices by developers, starting, manifests as text."""

from typing import Any

import pytest

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.developers.models import AuditEvent
from apps.features.library import templates
from apps.features.manifest_edit import as_yaml, change, content_of, from_json, line_of
from apps.features.manifest_source import parse
from apps.features.models import App, AppFeature, PricingTerms
from apps.features.queries import features_of_apps
from apps.features.services.apps import create_app, set_app_prices
from apps.features.services.starting import create_feature_from_template, start_app
from apps.features.services.terms import TermsInput
from tests.features.factories import ACTOR, NOW, make_developer

WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}
TERMS = TermsInput(markup_bps=4_000, share_bps=4_000, gateway_fee=100, byok_fee=7)


@pytest.fixture
def app_id(db: None) -> str:
    return create_app(developer_id=make_developer(), name="App", terms=TERMS, **WHO)


def test_developer_changes_prices_and_nothing_else(app_id: str) -> None:
    before = App.objects.get().terms_id
    set_app_prices(app_id=app_id, markup_bps=1_000, developer_pricing="own_price", own_price=100, **WHO)
    terms = App.objects.get().terms
    assert (terms.markup_bps, terms.developer_pricing, terms.own_price) == (1_000, "own_price", 100)
    assert (terms.share_bps, terms.gateway_fee, terms.byok_fee) == (4_000, 100, 7)
    assert PricingTerms.objects.get(pk=before).markup_bps == 4_000
    assert AuditEvent.objects.get(action="app.set_prices").detail["after"] == {"terms_id": terms.pk}


def test_prices_that_are_in_force_are_not_written_again(app_id: str) -> None:
    before = App.objects.get().terms_id
    assert set_app_prices(app_id=app_id, markup_bps=4_000, developer_pricing=None, own_price=0, **WHO) == before
    assert PricingTerms.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"markup_bps": -1}, "markup_bps"),
        ({"markup_bps": 10**9}, "markup_bps"),
        ({"developer_pricing": "free"}, "developer_pricing"),
        ({"developer_pricing": "own_price", "own_price": 99}, "own_price"),
    ],
)
def test_prices_out_of_range_are_refused(app_id: str, given: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        set_app_prices(app_id=app_id, **given, **WHO)
    assert (refused.value.code, refused.value.param) == ("invalid_terms", param)


def test_fixed_price_and_a_closed_door_are_the_operators(db: None, app_id: str, settings: Any) -> None:
    fixed = TermsInput(platform_pricing="fixed", fixed_price=5)
    other = create_app(developer_id=make_developer(), name="Other", terms=fixed, **WHO)
    with pytest.raises(Forbidden):
        set_app_prices(app_id=other, markup_bps=1, **WHO)
    settings.DEVELOPERS_SET_PRICES = False
    with pytest.raises(Forbidden):
        set_app_prices(app_id=app_id, markup_bps=1, **WHO)
    with pytest.raises(NotFound):
        set_app_prices(app_id="app_none", markup_bps=1, **WHO)


def test_app_starts_whole_or_not_at_all(db: None) -> None:
    given: dict[str, Any] = {"developer_id": make_developer(), "allowed_origins": [], "default_model": "m", **WHO}
    with pytest.raises(BadRequest, match="template"):
        start_app(name="App", template="none.en", **given)
    assert not App.objects.exists()
    app_id, key = start_app(name="App", template="reply.zh", **given)
    feature = AppFeature.objects.get(app_id=app_id, key=key)
    assert (key, feature.name) == ("reply", "回复")


def test_feature_from_a_template_refuses_what_is_not_there(app_id: str) -> None:
    given: dict[str, Any] = {"name": "", "template": "summary.en", "default_model": "m", **WHO}
    create_feature_from_template(app_id=app_id, key="summary", **given)
    with pytest.raises(Conflict):
        create_feature_from_template(app_id=app_id, key="summary", **given)
    with pytest.raises(NotFound):
        create_feature_from_template(app_id="app_none", key="summary", **given)
    assert [feature.key for feature in features_of_apps([app_id])[app_id]] == ["default", "summary"]


def test_change_keeps_the_order_and_the_comments_above() -> None:
    source = "# One.\n\n# Two.\nversion: 1\nrouting: {policy: local_first}  # gone\nlimits:\n  rpm: 5\n"
    changed = change(source, {"limits.rpm": None, "routing.policy": "byok_first", "prompt.user": "a\nb: c\n"})
    assert changed == (
        "# One.\n\n# Two.\nversion: 1\nrouting:\n  policy: byok_first\nprompt:\n  user: |\n    a\n    b: c\n"
    )


def test_change_to_what_is_so_already_touches_nothing() -> None:
    source = "version: 1 # one\ncache: {exact: true}\n"
    assert change(source, {"cache.exact": True, "limits.rpm": None, "cache.ttl_seconds": None}) == source


@pytest.mark.parametrize("source", ["- 1\n", "a: [\n", "1: 2\n", "a: " + "[" * 60 + "]" * 60, '"\\0": 1'])
def test_what_cannot_be_read_is_refused(source: str) -> None:
    with pytest.raises(BadRequest):
        content_of(source)


@pytest.mark.parametrize("name", templates())
def test_every_template_survives_being_written_anew(name: str) -> None:
    source = templates()[name].source
    assert parse(as_yaml(content_of(source)), source_format="yaml") == parse(source, source_format="yaml")


def test_json_becomes_yaml_that_says_the_same() -> None:
    source = '{"description": "yes", "prompt": {"user": "{{ input.x }}: #1"}, "cache": {"threshold": 0.9}}'
    assert parse(from_json(source), source_format="yaml") == parse(source, source_format="json")


def test_line_is_told_as_far_as_a_path_leads() -> None:
    source = "version: 1\nrouting:\n  rules:\n    - use: [a]\n    - use: [b]\n      when: {hour_to: 30}\n"
    for param, line in (("routing.rules[1].when.hour_to", 6), ("routing.rules[0].policy", 4), ("prompt", None)):
        assert line_of(source, BadRequest("wrong", param=param)) == line
