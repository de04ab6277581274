"""Versions of manifests: written once, put in force with what they name, and never contradicted by the columns."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction

from apps.core.errors import BadRequest, Conflict, FaucetError, Forbidden, NotFound
from apps.core.models import PolicyEpoch
from apps.developers.models import AuditEvent
from apps.features import queries, services
from apps.features.manifest import Manifest, Pricing
from apps.features.models import App, AppFeature, FeatureManifest, PricingTerms
from apps.features.services import TermsInput
from apps.features.services.manifests import terms_of
from tests.features.factories import ACTOR, NOW, make_app, make_feature, make_key, make_session

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture
def feature(app: App) -> AppFeature:
    return make_feature(app)


def put(feature: AppFeature, source: str, *, may_price: bool = True, source_format: str = "yaml") -> int:
    number = services.put_manifest(
        feature_id=feature.id, source=source, source_format=source_format, may_price=may_price, **WHO
    )
    feature.refresh_from_db()
    return number


def principal(app: App, key: str = "summarise") -> queries.Principal:
    return queries.authenticate(make_session(app, feature_key=key).token, now=NOW)


def test_feature_without_a_manifest_has_every_default(app: App, feature: AppFeature) -> None:
    found = principal(app)
    assert (found.manifest, found.manifest_id) == (Manifest(), None)
    assert queries.manifest_in_force(feature.id) is None


def test_manifest_is_on_the_principal_of_sessions_and_keys(app: App, feature: AppFeature) -> None:
    before = PolicyEpoch.objects.get().number
    assert put(feature, "routing: {policy: byok_first}") == 1
    assert PolicyEpoch.objects.get().number > before
    key = queries.authenticate(make_key(app, feature_key="summarise")[0], now=NOW)
    for found in (principal(app), key):
        assert found.manifest.routing.policy == "byok_first"
        assert found.manifest_id == feature.manifest_id
    assert principal(app, "default").manifest == Manifest()
    assert put(feature, "routing: {policy: local_first}") == 2
    assert principal(app).manifest.routing.policy == "local_first"


def test_what_a_manifest_names_is_set_and_the_rest_stays(app: App, feature: AppFeature) -> None:
    services.update_feature(feature_id=feature.id, models=["a", "b"], default_model="b", **WHO)
    put(feature, "models: {allow: [b, c]}\noutput: {max_tokens: 77}")
    assert (feature.models_allowed, feature.default_model) == (["b", "c"], "b")
    assert (feature.max_output_tokens, feature.affordable_clamp, feature.terms_id) == (77, True, None)
    put(feature, "models: {allow: [], default: d}\noutput: {clamp: false}")
    assert (feature.models_allowed, feature.default_model) == ([], "d")
    assert (feature.max_output_tokens, feature.affordable_clamp) == (77, False)
    assert principal(app).default_model == "d"


def test_default_model_that_stays_must_be_allowed(feature: AppFeature) -> None:
    services.update_feature(feature_id=feature.id, models=["a"], default_model="a", **WHO)
    with pytest.raises(BadRequest) as caught:
        put(feature, "models: {allow: [b]}")
    assert (caught.value.code, caught.value.param) == ("invalid_manifest", "models")
    assert FeatureManifest.objects.count() == 0


def test_pricing_becomes_terms_of_the_feature_and_changes_the_next_charge(app: App, feature: AppFeature) -> None:
    put(feature, "pricing: {markup_bps: 4000, share_bps: 4000, byok_fee_usd: '0.0001'}")
    terms = principal(app).terms
    assert (terms.markup_bps, terms.share_bps, terms.byok_fee, terms.platform_pricing) == (
        4000,
        4000,
        100_000,
        "markup",
    )
    put(feature, "pricing: {markup_bps: 4000, share_bps: 4000, byok_fee_usd: '0.0001'}\nlimits: {rpm: 5}")
    assert principal(app).terms == terms  # the same terms are not written again
    put(feature, "pricing: {markup_bps: 5000, share_bps: 4000}")
    assert principal(app).terms.markup_bps == 5000


def test_pricing_is_not_the_developers(app: App, feature: AppFeature) -> None:
    same_as_the_apps = "pricing: {markup_bps: 0}"
    for source in ("pricing: {share_bps: 9000}", same_as_the_apps):
        with pytest.raises(Forbidden) as caught:
            put(feature, source, may_price=False)
        assert caught.value.code == "pricing_not_allowed"
    assert FeatureManifest.objects.count() == 0
    put(feature, "pricing: {markup_bps: 4000}")
    terms = PricingTerms.objects.count()
    assert put(feature, "pricing: {markup_bps: 4000}\nlimits: {rpm: 9}", may_price=False) == 2
    assert put(feature, "limits: {rpm: 8}", may_price=False) == 3
    assert PricingTerms.objects.count() == terms
    assert principal(app).terms.markup_bps == 4000


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"models": ["z"], "default_model": ""}, "models_allowed"),
        ({"default_model": "b"}, "default_model"),
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"affordable_clamp": True}, "affordable_clamp"),
    ],
)
def test_columns_that_a_manifest_sets_are_not_changed_beside_it(
    feature: AppFeature, change: dict[str, Any], column: str
) -> None:
    put(feature, "models: {allow: [a, b], default: a}\noutput: {max_tokens: 9, clamp: false}\npricing: {}")
    with pytest.raises(Conflict) as caught:
        services.update_feature(feature_id=feature.id, **change, **WHO)
    assert (caught.value.code, caught.value.param) == ("set_by_manifest", column)
    for terms in (None, TermsInput(share_bps=1)):
        with pytest.raises(Conflict), transaction.atomic():
            services.set_feature_terms(feature_id=feature.id, terms=terms, **WHO)
    services.update_feature(feature_id=feature.id, name="Other", models=["a", "b"], max_output_tokens=9, **WHO)
    services.disable_feature(feature_id=feature.id, **WHO)


def test_columns_that_it_does_not_set_are_changed_as_ever(feature: AppFeature) -> None:
    put(feature, "limits: {rpm: 5}")
    services.update_feature(feature_id=feature.id, models=["a"], max_output_tokens=5, affordable_clamp=False, **WHO)
    services.set_feature_terms(feature_id=feature.id, terms=TermsInput(share_bps=1), **WHO)


def test_same_source_is_not_written_again(feature: AppFeature) -> None:
    assert put(feature, "limits: {rpm: 5}") == put(feature, "limits: {rpm: 5}") == 1
    assert put(feature, "# why\nlimits: {rpm: 5}") == 2
    assert put(feature, '{"limits": {"rpm": 5}}', source_format="json") == 3


def test_earlier_version_comes_back_with_what_it_names(app: App, feature: AppFeature) -> None:
    put(feature, "output: {max_tokens: 10}\nlimits: {rpm: 1}")
    put(feature, "output: {max_tokens: 20}\npricing: {markup_bps: 3}")
    services.roll_back(feature_id=feature.id, number=1, may_price=False, **WHO)
    found = principal(app)
    assert (found.max_output_tokens, found.manifest.limits.rpm, found.terms.markup_bps) == (10, 1, 3)
    assert put(feature, "limits: {rpm: 7}") == 3
    services.set_feature_terms(feature_id=feature.id, terms=None, **WHO)
    with pytest.raises(Forbidden):
        services.roll_back(feature_id=feature.id, number=2, may_price=False, **WHO)
    services.roll_back(feature_id=feature.id, number=2, may_price=True, **WHO)
    services.roll_back(feature_id=feature.id, number=2, may_price=False, **WHO)  # in force: nothing to change
    info = queries.manifest_in_force(feature.id)
    assert info is not None and (info.number, info.in_force) == (2, True)
    assert [row.number for row in queries.manifests_of(feature.id, limit=5)] == [3, 2, 1]
    assert [row.number for row in queries.manifests_of(feature.id, before=3, limit=1)] == [2]
    actions = AuditEvent.objects.filter(subject_id=feature.id).exclude(action="feature.create").order_by("id")
    assert [event.action for event in actions] == [
        *["feature.put_manifest"] * 2,
        "feature.roll_back",
        "feature.put_manifest",
        "feature.set_terms",
        "feature.roll_back",
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda f: services.roll_back(feature_id=f.id, number=9, may_price=True, **WHO), "manifest_not_found"),
        (lambda f: services.roll_back(feature_id="feat_0", number=1, may_price=True, **WHO), "feature_not_found"),
        (lambda f: put(AppFeature(id="feat_0"), "{}"), "feature_not_found"),
        (lambda f: put(f, "{}", source_format="toml"), "invalid_manifest"),
        (lambda f: put(f, "rooting: {}"), "invalid_manifest"),
        (lambda f: put(f, "input: {type: array}\nprompt: {user: x}"), "invalid_manifest"),
        (lambda f: put(f, "prompt: {user: '{{ 1 * 2 }}'}"), "invalid_manifest"),
        (lambda f: put(f, "prompt: {user: x, system: '{% set a = 1 %}'}"), "invalid_manifest"),
        (lambda f: put(f, "prompt: {user: x}\noutput: {kind: json}"), "invalid_manifest"),
        (lambda f: put(f, "prompt: {user: x}\noutput: {kind: json, schema: {type: zero}}"), "invalid_manifest"),
    ],
)
def test_refusals(feature: AppFeature, change: Callable[[AppFeature], object], code: str) -> None:
    with pytest.raises(FaucetError) as caught:
        change(feature)
    assert caught.value.code == code
    assert isinstance(caught.value, NotFound if code.endswith("not_found") else BadRequest)


def test_versions_can_be_neither_edited_nor_deleted(feature: AppFeature) -> None:
    put(feature, "limits: {rpm: 5}")
    put(feature, "limits: {rpm: 6}")
    rows = FeatureManifest.objects.filter(number=1)
    for change in (lambda: rows.update(source="x"), lambda: rows.delete()):
        with pytest.raises((IntegrityError, models.ProtectedError)), transaction.atomic():
            change()


def test_manifest_of_another_feature_is_refused_by_the_database(app: App, feature: AppFeature) -> None:
    put(feature, "limits: {rpm: 5}")
    with pytest.raises(IntegrityError), transaction.atomic():
        AppFeature.objects.filter(app=app, key="default").update(manifest_id=feature.manifest_id)


def test_stored_terms_are_those_that_are_written_down() -> None:
    assert terms_of(Pricing()) == TermsInput()
    every = Pricing(
        platform_pricing="fixed",
        markup_bps=1,
        fixed_price_usd="0.000000002",
        developer_pricing="own_price",
        own_price_usd="0.000000003",
        gateway_fee_usd="0.000000004",
        byok_fee_usd="0.000000005",
        local_fee_usd="0.000000006",
        share_bps=7,
    )
    assert list(asdict(terms_of(every)).values()) == ["fixed", 1, 2, "own_price", 3, 4, 5, 6, 7]
