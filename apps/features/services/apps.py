"""Apps: made, changed, switched off and on."""

import secrets
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.ids import new_id
from apps.developers import queries as developers
from apps.developers.services import audit
from apps.features.models import MAX_PRICE, App, DeveloperPricing, PlatformPricing, Status
from apps.features.principals import DEFAULT_FEATURE
from apps.features.services import inputs
from apps.features.services.features import insert_feature
from apps.features.services.terms import AT_COST, TermsInput, insert_terms


@transaction.atomic
def create_app(
    *,
    developer_id: str,
    name: str,
    now: datetime,
    actor: str,
    allowed_origins: Iterable[str] = (),
    terms: TermsInput = AT_COST,
    anonymous_allowance: int = 0,
    public_id: str | None = None,
    models: Iterable[str] = (),
    default_model: str = "",
    max_output_tokens: int = 4096,
) -> str:
    """Create an app with its feature `default` and return the app's id.

    `anonymous_allowance` is in nano-USD per device; `models`, `default_model` and `max_output_tokens` are the
    default feature's. Raises BadRequest, NotFound (developer_not_found) and Conflict (public_id_taken).
    """
    if developers.developer(developer_id) is None:
        raise NotFound(_("There is no such developer."), code="developer_not_found", param="developer_id")
    app = App(
        id=new_id("app"),
        public_id=inputs.clean_public_id(public_id) if public_id is not None else f"app_pub_{secrets.token_hex(12)}",
        developer_id=developer_id,
        name=inputs.clean_name(name),
        allowed_origins=inputs.clean_origins(allowed_origins),
        anonymous_allowance=_clean_allowance(anonymous_allowance),
        terms=insert_terms(terms, now=now),
        created_at=now,
    )
    try:
        with transaction.atomic():
            app.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(_("This public_id is taken."), code="public_id_taken", param="public_id") from error
    insert_feature(
        app_id=app.id,
        key=DEFAULT_FEATURE,
        name=app.name,
        models=models,
        default_model=default_model,
        max_output_tokens=max_output_tokens,
        affordable_clamp=True,
        terms_id=None,
        now=now,
    )
    audit.record(
        action="app.create",
        subject_type="app",
        subject_id=app.id,
        actor=actor,
        now=now,
        developer_id=developer_id,
        detail={"name": app.name, "public_id": app.public_id, "terms_id": app.terms_id},
    )
    return app.id


@transaction.atomic
def update_app(
    *,
    app_id: str,
    now: datetime,
    actor: str,
    name: str | None = None,
    allowed_origins: Iterable[str] | None = None,
    anonymous_allowance: int | None = None,
) -> None:
    """Change what is given (None leaves a value as it is); raises BadRequest and NotFound (app_not_found)."""
    app = _locked(app_id)
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = inputs.clean_name(name)
    if allowed_origins is not None:
        changes["allowed_origins"] = inputs.clean_origins(allowed_origins)
    if anonymous_allowance is not None:
        changes["anonymous_allowance"] = _clean_allowance(anonymous_allowance)
    _change(app, "app.update", changes, now=now, actor=actor)


@transaction.atomic
def set_app_terms(*, app_id: str, terms: TermsInput, now: datetime, actor: str) -> int:
    """Write new terms, point the app to them and return their id.

    Requests already admitted keep theirs. Raises BadRequest (invalid_terms) and NotFound (app_not_found).
    """
    app = _locked(app_id)
    written = insert_terms(terms, now=now)
    _change(app, "app.set_terms", {"terms_id": written.pk}, now=now, actor=actor)
    return written.pk


@transaction.atomic
def set_app_prices(
    *,
    app_id: str,
    markup_bps: int | None = None,
    developer_pricing: str | None = None,
    own_price: int | None = None,
    now: datetime,
    actor: str,
) -> int:
    """Change what an app's developer may of its terms, and return their id; what is None stays.

    The share, the fees and a fixed price are the operator's: a price below cost would be at the operator's expense.
    Requests already admitted keep their terms. Raises BadRequest (invalid_terms), Forbidden (pricing_not_allowed: by
    DEVELOPERS_SET_PRICES, or because the operator fixed the price) and NotFound (app_not_found).
    """
    app = _locked(app_id)
    present = TermsInput(**{field.name: getattr(app.terms, field.name) for field in fields(TermsInput)})
    given: dict[str, Any] = {"markup_bps": markup_bps, "developer_pricing": developer_pricing, "own_price": own_price}
    changes = {name: value for name, value in given.items() if value is not None and value != getattr(present, name)}
    if not changes:
        return app.terms_id
    if not settings.DEVELOPERS_SET_PRICES:
        raise Forbidden(_("Prices are set by the operator here."), code="pricing_not_allowed")
    if "markup_bps" in changes and present.platform_pricing == PlatformPricing.FIXED:
        raise Forbidden(
            _("The operator has fixed the price of this app."), code="pricing_not_allowed", param="markup_bps"
        )
    wanted = replace(present, **changes)
    if wanted.developer_pricing == DeveloperPricing.OWN_PRICE and wanted.own_price < wanted.gateway_fee:
        raise BadRequest(_("Your own price is not below the gateway fee."), code="invalid_terms", param="own_price")
    written = insert_terms(wanted, now=now)
    _change(app, "app.set_prices", {"terms_id": written.pk}, now=now, actor=actor)
    return written.pk


@transaction.atomic
def disable_app(*, app_id: str, now: datetime, actor: str) -> None:
    """Refuse every request of this app from now on; raises NotFound (app_not_found)."""
    _change(_locked(app_id), "app.disable", {"status": Status.DISABLED.value}, now=now, actor=actor)


@transaction.atomic
def enable_app(*, app_id: str, now: datetime, actor: str) -> None:
    """Serve this app again; raises NotFound (app_not_found) and Forbidden (app_suspended)."""
    app = _locked(app_id)
    if app.suspended:
        raise Forbidden(_("The operator has switched this app off."), code="app_suspended")
    _change(app, "app.enable", {"status": Status.ACTIVE.value}, now=now, actor=actor)


@transaction.atomic
def suspend_app(*, app_id: str, now: datetime, actor: str) -> None:
    """Refuse every request of this app until the operator says otherwise; raises NotFound (app_not_found)."""
    changes: dict[str, object] = {"status": Status.DISABLED.value, "suspended": True}
    _change(_locked(app_id), "app.suspend", changes, now=now, actor=actor)


@transaction.atomic
def resume_app(*, app_id: str, now: datetime, actor: str) -> None:
    """Serve this app again, whoever switched it off; raises NotFound (app_not_found)."""
    changes: dict[str, object] = {"status": Status.ACTIVE.value, "suspended": False}
    _change(_locked(app_id), "app.resume", changes, now=now, actor=actor)


def _locked(app_id: str) -> App:
    app = App.objects.select_for_update(of=("self",)).select_related("terms").filter(pk=app_id).first()
    if app is None:
        raise NotFound(_("There is no such app."), code="app_not_found", param="app_id")
    return app


def _change(app: App, action: str, changes: dict[str, object], *, now: datetime, actor: str) -> None:
    before = {name: getattr(app, name) for name in changes}
    if before == changes:
        return
    for name, value in changes.items():
        setattr(app, name, value)
    app.save(update_fields=list(changes))
    audit.record(
        action=action,
        subject_type="app",
        subject_id=app.id,
        actor=actor,
        now=now,
        developer_id=app.developer_id,
        detail={"before": before, "after": changes},
    )


def _clean_allowance(value: int) -> int:
    if not 0 <= value <= MAX_PRICE:
        raise BadRequest(
            _("anonymous_allowance takes 0 to %(max_price)s nano-USD.") % {"max_price": MAX_PRICE},
            param="anonymous_allowance",
        )
    return value
