"""Find a row by any id that it is known by, for operators: each room says where its ids stand, and finds its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models

# What an id is made of, whoever's; nothing else is asked of the database.
LONGEST = 255
_UNTOLD = (models.BinaryField, models.JSONField, models.FileField)
_UNTOLD_NAMES = frozenset({"secret", "content", "payload", "checkout_url", "return_url", "base_url", "password"})


@dataclass(frozen=True, slots=True)
class Place:
    """A column whose values are ids, each found by its index. `prefixes` are what they begin with; none: any text.

    A column of numbers is asked for numbers only.
    """

    model: type[models.Model]
    column: str = "pk"
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A column of a row: its name, what people call it, its value."""

    column: str
    label: str
    value: Any


@dataclass(frozen=True, slots=True)
class Found:
    """A row: the table it is of (`features.app`), what people call such a row, and its columns; never a secret."""

    table: str
    pk: str
    name: str
    title: str
    facts: tuple[Fact, ...]

    def value(self, column: str) -> Any:
        """Return the value of a column, None where there is none."""
        return next((fact.value for fact in self.facts if fact.column == column), None)


def find_in(places: Sequence[Place], term: str) -> Iterator[Found]:
    """Yield the rows that an id is of, one query for each place where it may stand."""
    if not term or len(term) > LONGEST or "\0" in term:
        return
    for place in places:
        if _may_stand(place, term) and (row := _rows(place.model).filter(**{place.column: term}).first()):
            yield _found(row)


def row_of(places: Sequence[Place], table: str, pk: str) -> Found | None:
    """Return a row of one of the tables, by its primary key."""
    model = next((place.model for place in places if place.model._meta.label_lower == table), None)
    if model is None or not _may_stand(Place(model), pk):
        return None
    row = _rows(model).filter(pk=pk).first()
    return None if row is None else _found(row)


def _may_stand(place: Place, term: str) -> bool:
    if not term or len(term) > LONGEST or "\0" in term:
        return False
    field = place.model._meta.pk if place.column == "pk" else place.model._meta.get_field(place.column)
    if isinstance(field, models.OneToOneField):
        field = field.target_field
    if isinstance(field, models.IntegerField):
        return term.isascii() and term.isdecimal() and int(term) < 2**63
    return not place.prefixes or term.startswith(place.prefixes)


def _rows(model: type[models.Model]) -> models.QuerySet[Any]:
    untold = [field.name for field in model._meta.concrete_fields if not _told(field)]
    return model._default_manager.defer(*untold)


def _told(field: Any) -> bool:
    """Tell whether a column is shown: none that holds a secret, a hash of one, or a text of any length."""
    own = not type(field).__module__.startswith("django.")  # the vault's
    return not (own or isinstance(field, _UNTOLD) or field.name in _UNTOLD_NAMES or field.name.endswith("_hash"))


def _found(row: models.Model) -> Found:
    options = row._meta
    return Found(
        options.label_lower,
        str(row.pk),
        str(options.verbose_name),
        str(row),
        tuple(
            Fact(field.attname, str(field.verbose_name), getattr(row, field.attname))
            for field in options.concrete_fields
            if _told(field)
        ),
    )
