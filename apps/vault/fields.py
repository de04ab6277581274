"""The one kind of column that holds a secret. It fails closed where django-encrypted-model-fields fails open.

What the library lets through, and what happens here: a value that cannot be opened, and plain text in the column,
come back as they are → reading raises; another row's ciphertext reads back → a secret opens only in its own row;
`update()` and `bulk_update()` store the text of an expression → only a row being saved writes the column; filters
silently match nothing → refused; `dumpdata` writes plain text → it writes the ciphertext; keys are read once at
import → read from the settings each time.
"""

from typing import Any

from django.apps import apps
from django.core import checks
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from encrypted_model_fields.fields import EncryptedTextField

from apps.vault import envelope
from apps.vault.envelope import VaultProblem
from apps.vault.secrets import Secret


def sealed_columns() -> list[tuple[type[models.Model], "EncryptedField"]]:
    """Return every column that holds secrets, whichever room's table it is of."""
    return [
        (model, field)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedField)
    ]


class Sealed:
    """A secret as it stands in the column."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "[sealed]"


# What stands in the column in place of a secret that was erased. It opens for nobody.
ERASED = "erased"


class _Erased(Sealed):
    """A secret that is to be erased with the next save of its row."""


class _Storable(Sealed):
    """A sealed secret that `pre_save` has seen to belong to the row that it is written to."""


class _SecretAttribute(DeferredAttribute):
    """Open on reading, as a Secret, and hold no plain text once the row is saved."""

    field: "EncryptedField"

    def __get__(self, instance: models.Model | None, cls: type[models.Model] | None = None) -> Any:
        if instance is None:
            return self
        name = self.field.attname
        if name not in instance.__dict__:
            super().__get__(instance, cls)  # deferred: loads it
        value = instance.__dict__[name]
        return self.field.open(instance, value) if isinstance(value, Sealed) else value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = self.field.to_python(value)


class EncryptedField(EncryptedTextField):
    """Hold a short text sealed for its row. Assign a str; read a Secret; reading raises VaultProblem on any doubt.

    The row needs its primary key before it is saved. The column can be neither filtered nor set by `update()`,
    and never shows up in a form.
    """

    descriptor_class = _SecretAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = super().check(**kwargs)
        if self.null or self.unique or self.db_index or self.has_default():
            found.append(
                checks.Error(
                    "An encrypted field is not null, not unique, not indexed and has no default.",
                    hint="Keep a keyed hash beside it for look-ups.",
                    obj=self,
                    id="vault.E001",
                )
            )
        return found

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        return name, path, args, kwargs

    # Reading.

    def from_db_value(self, value: Any, *args: Any, **kwargs: Any) -> Sealed | None:
        return None if value is None else Sealed(value)

    def open(self, instance: models.Model, sealed: Sealed) -> Secret:
        """Return the secret of this row; raises VaultProblem."""
        if sealed.text == ERASED:
            raise VaultProblem(f"the secret at {self._place(instance)} was erased")
        return Secret(envelope.open_sealed(sealed.text, place=self._place(instance)))

    # Writing.

    def to_python(self, value: Any) -> Secret | Sealed | None:
        if value is None or value == "":
            return None
        if isinstance(value, Secret | Sealed):
            return value
        if isinstance(value, str):
            return Secret(value)
        raise VaultProblem(f"{self} takes a str, not a {type(value).__name__}")

    def pre_save(self, model_instance: models.Model, add: bool) -> _Storable:
        value = model_instance.__dict__.get(self.attname)
        if isinstance(value, _Erased):
            return _Storable(ERASED)
        if isinstance(value, Sealed):
            self.open(model_instance, value)  # a row copied under another id must not carry the secret along
        elif isinstance(value, Secret):
            value = Sealed(envelope.seal(value.reveal(), place=self._place(model_instance)))
            model_instance.__dict__[self.attname] = value
        else:
            raise VaultProblem(f"{self} is empty")
        return _Storable(value.text)

    def get_db_prep_save(self, value: Any, connection: Any) -> str:
        if not isinstance(value, _Storable):
            raise VaultProblem(f"{self} is written by saving its row, not by update(), bulk_update() or a fixture")
        return value.text

    def get_prep_value(self, value: Any) -> None:
        raise VaultProblem(f"{self} cannot be compared: look the row up by its id or a keyed hash")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> None:
        self.get_prep_value(value)

    def rewrap(self, instance: models.Model) -> bool:
        """Put this row's secret under the current key, unsaved; return whether it was under another.

        Raises VaultProblem when it does not open in the first place.
        """
        sealed = instance.__dict__[self.attname]
        if sealed.text == ERASED:
            return False
        self.open(instance, sealed)
        if envelope.key_id_of(sealed.text) == envelope.keyring().current_key_id:
            return False
        instance.__dict__[self.attname] = Sealed(envelope.rewrap(sealed.text))
        return True

    def erase(self, instance: models.Model) -> None:
        """Let the next save of this row overwrite its secret and the data key it is under; nothing brings it back."""
        instance.__dict__[self.attname] = _Erased(ERASED)

    # What would show or compare it elsewhere.

    def get_lookup(self, lookup_name: str) -> Any:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    def get_transform(self, lookup_name: str) -> None:
        return None

    def value_from_object(self, obj: models.Model) -> Any:
        return obj.__dict__.get(self.attname)

    def value_to_string(self, obj: models.Model) -> str:
        value = obj.__dict__.get(self.attname)
        if not isinstance(value, Sealed):
            raise VaultProblem(f"{self} of an unsaved row is not serialized")
        return value.text

    def _place(self, instance: models.Model) -> str:
        if instance.pk in (None, ""):
            raise VaultProblem(f"{self} needs the row's primary key before it is sealed")
        return f"{self.model._meta.db_table}.{self.column}:{instance.pk}"
