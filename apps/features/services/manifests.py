"""Manifests: a new version for every change, and what it names set on the feature in the same transaction."""

import json
from dataclasses import asdict
from datetime import datetime

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.developers.services import audit
from apps.features.gates import gates_of
from apps.features.manifest import Manifest, Pricing, decode, encode
from apps.features.manifest_source import parse
from apps.features.models import AppFeature, FeatureManifest, ManifestFormat
from apps.features.prompts import check_template
from apps.features.schemas import check_schema
from apps.features.services import inputs
from apps.features.services.entitlements import require_gates
from apps.features.services.terms import TermsInput, insert_terms


@transaction.atomic
def put_manifest(
    *, feature_id: str, source: str, source_format: str, now: datetime, actor: str, may_price: bool
) -> int:
    """Write the next version of a feature's manifest, put it in force and return its number.

    What it names of models, output and pricing is set on the feature; what it does not name stays. What is in force
    already is not written again. Pricing other than the feature's own is only for those who `may_price`. Raises
    BadRequest (invalid_manifest), Forbidden (pricing_not_allowed; plan_upgrade_required for what the developer's plan
    does not include) and NotFound (feature_not_found).
    """
    if source_format not in ManifestFormat.values:
        raise BadRequest(_("A manifest is yaml or json."), code="invalid_manifest", param="source_format")
    manifest = read_manifest(source, source_format)
    feature = _locked(feature_id)
    current = feature.manifest
    if current is not None and (current.source, current.source_format) == (source, source_format):
        return current.number
    latest = FeatureManifest.objects.filter(feature=feature).aggregate(number=Max("number"))["number"] or 0
    version = FeatureManifest.objects.create(
        id=new_id("man"),
        feature=feature,
        number=latest + 1,
        manifest=json.loads(encode(manifest)),
        source=source,
        source_format=source_format,
        created_by=actor,
        created_at=now,
    )
    _put_in_force(feature, version, manifest, "feature.put_manifest", now=now, actor=actor, may_price=may_price)
    return version.number


@transaction.atomic
def roll_back(*, feature_id: str, number: int, now: datetime, actor: str, may_price: bool) -> None:
    """Put another version of a feature's manifest in force; the one in force again changes nothing.

    Raises NotFound (feature_not_found, manifest_not_found) and Forbidden (pricing_not_allowed, plan_upgrade_required).
    """
    feature = _locked(feature_id)
    version = FeatureManifest.objects.filter(feature=feature, number=number).first()
    if version is None:
        raise NotFound(_("This feature has no such version of a manifest."), code="manifest_not_found", param="number")
    if version.pk != feature.manifest_id:
        manifest = stored_manifest(version)
        _put_in_force(feature, version, manifest, "feature.roll_back", now=now, actor=actor, may_price=may_price)


def read_manifest(source: str, source_format: str) -> Manifest:
    """Return what a source says, its schemas and templates checked; raises BadRequest (invalid_manifest)."""
    manifest = parse(source, source_format=source_format)
    if manifest.input is not None:
        check_schema(manifest.input, "input", takes_object=True)
    if manifest.output.schema is not None:
        check_schema(manifest.output.schema, "output.schema", takes_object=False)
    prompt = manifest.prompt
    if prompt is not None:
        check_template(prompt.system, "prompt.system")
        check_template(prompt.user, "prompt.user")
        if (
            manifest.output.kind == "json"
            and manifest.output.schema is None
            and "json" not in (prompt.system + prompt.user).lower()
        ):
            # OpenAI and others refuse such a request.
            raise BadRequest(
                _("prompt: to be answered in JSON without a schema, the prompt must mention JSON."),
                code="invalid_manifest",
                param="prompt",
            )
    return manifest


def refuse_what_manifest_sets(feature: AppFeature, changes: dict[str, object]) -> None:
    """Raise Conflict (set_by_manifest) where a change of columns would contradict the manifest in force."""
    if feature.manifest is None:
        return
    manifest = stored_manifest(feature.manifest)
    named = {
        "models_allowed": manifest.models.allow is not None,
        "default_model": manifest.models.default is not None,
        "max_output_tokens": manifest.output.max_tokens is not None,
        "affordable_clamp": manifest.output.clamp is not None,
        "terms_id": manifest.pricing is not None,
    }
    for name, value in changes.items():
        if named.get(name) and value != getattr(feature, name):
            raise Conflict(
                _("%(name)s is set by the feature's manifest; change the manifest.") % {"name": name},
                code="set_by_manifest",
                param=name,
            )


def stored_manifest(version: FeatureManifest) -> Manifest:
    """Return the manifest of a stored version."""
    return decode(json.dumps(version.manifest))


def terms_of(pricing: Pricing) -> TermsInput:
    """Return the pricing terms that a manifest writes down."""
    return TermsInput(
        platform_pricing=pricing.platform_pricing,
        markup_bps=pricing.markup_bps,
        fixed_price=nano_from_usd(pricing.fixed_price_usd),
        developer_pricing=pricing.developer_pricing,
        own_price=nano_from_usd(pricing.own_price_usd),
        gateway_fee=nano_from_usd(pricing.gateway_fee_usd),
        byok_fee=nano_from_usd(pricing.byok_fee_usd),
        local_fee=nano_from_usd(pricing.local_fee_usd),
        share_bps=pricing.share_bps,
    )


def _put_in_force(
    feature: AppFeature,
    version: FeatureManifest,
    manifest: Manifest,
    action: str,
    *,
    now: datetime,
    actor: str,
    may_price: bool,
) -> None:
    require_gates(feature.app.developer_id, gates_of(manifest))
    before = feature.manifest.number if feature.manifest is not None else None
    models, output = manifest.models, manifest.output
    default = feature.default_model if models.default is None else models.default
    try:
        allowed = inputs.clean_models(feature.models_allowed if models.allow is None else models.allow, default)
    except BadRequest as error:
        raise BadRequest(
            _("models: %(message)s") % {"message": error.message}, code="invalid_manifest", param="models"
        ) from error
    feature.models_allowed, feature.default_model = allowed, default
    if output.max_tokens is not None:
        feature.max_output_tokens = output.max_tokens
    if output.clamp is not None:
        feature.affordable_clamp = output.clamp
    if manifest.pricing is not None:
        feature.terms_id = _terms(feature, manifest.pricing, now=now, may_price=may_price)
    feature.manifest = version
    feature.save()
    audit.record(
        action=action,
        subject_type="feature",
        subject_id=feature.id,
        actor=actor,
        now=now,
        developer_id=feature.app.developer_id,
        detail={"number": version.number, "before": before, "terms_id": feature.terms_id},
    )


def _terms(feature: AppFeature, pricing: Pricing, *, now: datetime, may_price: bool) -> int:
    wanted = terms_of(pricing)
    own = feature.terms
    if own is not None and all(getattr(own, name) == value for name, value in asdict(wanted).items()):
        return own.pk
    if not may_price:
        raise Forbidden(
            _("Pricing terms are the operator's: leave 'pricing' out, or as it is."),
            code="pricing_not_allowed",
            param="pricing",
        )
    try:
        return insert_terms(wanted, now=now).pk
    except BadRequest as error:
        raise BadRequest(
            _("pricing: %(message)s") % {"message": error.message}, code="invalid_manifest", param="pricing"
        ) from error


def _locked(feature_id: str) -> AppFeature:
    rows = AppFeature.objects.select_for_update(of=("self",)).select_related("app", "manifest", "terms")
    feature = rows.filter(pk=feature_id).first()
    if feature is None:
        raise NotFound(_("There is no such feature."), code="feature_not_found", param="feature_id")
    return feature
