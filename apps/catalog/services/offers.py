"""Providers, models and offers: adding, changing, switching off and on."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.catalog.models import Adapter, Model, ModelOffer, Provider, Status, Tokenizer
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.outbound import check_url


def add_provider(
    *,
    id: str,
    name: str,
    base_url: str,
    resale_allowed: bool,
    trains_on_data: bool,
    adapter: str = Adapter.OPENAI_COMPATIBLE,
    byok_allowed: bool = True,
    white_label_allowed: bool = False,
    keeps_cache_control: bool = False,
    notice: str = "",
    terms_url: str = "",
    notes: str = "",
    now: datetime,
    actor: str,
) -> str:
    """Add a provider and return its id. Resale and training have no default: somebody must have read the terms.

    `byok_allowed`: others' keys may be used; `white_label_allowed`: answers need not name the provider; `notice` is
    what its terms require to be shown to those it answers. `keeps_cache_control`: it is OpenAI-compatible and takes
    cache_control on the parts of a message.

    Raises BadRequest (a field that cannot be right; address_not_allowed for a base_url inside the private network that
    OUTBOUND_PRIVATE_ENDPOINTS does not name) and Conflict (the id is taken).
    """
    row = Provider(
        id=id,
        name=name,
        adapter=adapter,
        base_url=base_url,
        resale_allowed=resale_allowed,
        trains_on_data=trains_on_data,
        byok_allowed=byok_allowed,
        white_label_allowed=white_label_allowed,
        keeps_cache_control=keeps_cache_control,
        notice=notice,
        terms_url=terms_url,
        notes=notes,
        created_at=now,
        created_by=actor,
        changed_at=now,
        changed_by=actor,
    )
    _check_provider(row)
    _insert(row, f"Provider {id} exists.")
    return id


def update_provider(provider_id: str, *, now: datetime, actor: str, **changes: Any) -> None:
    """Change fields of a provider: its name, adapter, base_url, keeps_cache_control, what its terms say, notes.

    Raises NotFound and BadRequest.
    """
    _update(Provider, provider_id, _PROVIDER_FIELDS, changes, _check_provider, now, actor)


def add_model(*, id: str, name: str, family: str = "", now: datetime, actor: str) -> str:
    """Add a model under the name that clients ask for and return that name.

    Raises BadRequest (blank name) and Conflict (the name is taken).
    """
    row = Model(id=id, name=name, family=family, created_at=now, created_by=actor)
    _clean(row)
    _insert(row, f"Model {id} exists.")
    return id


def add_offer(
    *,
    provider: str,
    model: str,
    upstream_model: str,
    capabilities: Collection[str],
    context_window: int | None = None,
    max_output_tokens: int | None = None,
    image_tokens: int = 1_600,
    tokenizer: str = Tokenizer.UNKNOWN,
    quality: int | None = None,
    task_quality: Mapping[str, int] | None = None,
    priority: int = 100,
    active: bool = True,
    now: datetime,
    actor: str,
) -> int:
    """Add a provider's offer of a model and return its id. It cannot be called until it has a price.

    Limits are in tokens, `image_tokens` is the most that the provider counts for one image, `quality` and the values
    of `task_quality` (by task class) go from 0 to 1000, the lowest `priority` is tried first. Raises BadRequest,
    NotFound (provider or model) and Conflict (the offer exists).
    """
    if not Provider.objects.filter(id=provider).exists():
        raise NotFound(_("There is no provider %(provider)s.") % {"provider": provider}, param="provider")
    if not Model.objects.filter(id=model).exists():
        raise NotFound(_("There is no model %(model)s.") % {"model": model}, param="model")
    row = ModelOffer(
        provider_id=provider,
        model_id=model,
        upstream_model=upstream_model,
        status=Status.ACTIVE if active else Status.DISABLED,
        context_window=context_window,
        max_output_tokens=max_output_tokens,
        image_tokens=image_tokens,
        capabilities=sorted(capabilities),
        tokenizer=tokenizer,
        quality=quality,
        task_quality=dict(task_quality or {}),
        priority=priority,
        created_at=now,
        created_by=actor,
        changed_at=now,
        changed_by=actor,
    )
    _clean(row)
    _insert(row, f"{provider} offers {upstream_model} as {model} already.")
    return row.id


def update_offer(offer_id: int, *, now: datetime, actor: str, **changes: Any) -> None:
    """Change fields of an offer: its limits, image_tokens, capabilities, tokenizer, qualities, priority.

    What is offered (provider, model, upstream_model) does not change: its prices belong to it. Raises NotFound
    and BadRequest.
    """
    _update(ModelOffer, offer_id, _OFFER_FIELDS, changes, _clean, now, actor)


def disable_provider(provider_id: str, *, now: datetime, actor: str) -> None:
    """Stop calling a provider, within a second. Raises NotFound."""
    _set_status(Provider, provider_id, Status.DISABLED, now, actor)


def enable_provider(provider_id: str, *, now: datetime, actor: str) -> None:
    """Call a provider again. Raises NotFound."""
    _set_status(Provider, provider_id, Status.ACTIVE, now, actor)


def disable_offer(offer_id: int, *, now: datetime, actor: str) -> None:
    """Stop routing to an offer, within a second. Raises NotFound."""
    _set_status(ModelOffer, offer_id, Status.DISABLED, now, actor)


def enable_offer(offer_id: int, *, now: datetime, actor: str) -> None:
    """Route to an offer again. Raises NotFound."""
    _set_status(ModelOffer, offer_id, Status.ACTIVE, now, actor)


_TERMS = {"resale_allowed", "byok_allowed", "white_label_allowed", "trains_on_data", "notice", "terms_url"}
_PROVIDER_FIELDS = {"name", "adapter", "base_url", "keeps_cache_control", "notes"} | _TERMS
_OFFER_FIELDS = {
    *("context_window", "max_output_tokens", "image_tokens", "capabilities", "tokenizer"),
    *("quality", "task_quality", "priority"),
}


def _check_provider(row: Provider) -> None:
    _clean(row)
    check_url(row.base_url)


def _clean(row: Any) -> None:
    try:
        row.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise BadRequest(f"{field}: {' '.join(messages)}", param=field) from error


def _insert(row: Any, taken: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(taken, code="already_exists") from error


def _locked(table: type[Any], row_id: str | int) -> Any:
    row = table.objects.select_for_update().filter(id=row_id).first()
    if row is None:
        raise NotFound(
            _("There is no %(verbose_name)s %(row_id)s.") % {"verbose_name": table._meta.verbose_name, "row_id": row_id}
        )
    return row


@transaction.atomic
def _update(
    table: type[Any],
    row_id: str | int,
    fields: set[str],
    changes: dict[str, Any],
    check: Callable[[Any], None],
    now: datetime,
    actor: str,
) -> None:
    if unknown := set(changes) - fields:
        raise BadRequest(_("Cannot be changed: %(names)s.") % {"names": ", ".join(sorted(unknown))}, param=min(unknown))
    row = _locked(table, row_id)
    for name, value in changes.items():
        setattr(row, name, value)
    row.changed_at, row.changed_by = now, actor
    check(row)
    row.save(update_fields=[*changes, "changed_at", "changed_by"])


@transaction.atomic
def _set_status(table: type[Any], row_id: str | int, status: Status, now: datetime, actor: str) -> None:
    row = _locked(table, row_id)
    if row.status != status:
        row.status, row.changed_at, row.changed_by = status, now, actor
        row.save(update_fields=["status", "changed_at", "changed_by"])
