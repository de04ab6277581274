"""Fields that the console's forms share, and how a service's refusal becomes an error of a form."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from apps.core.errors import FaucetError
from apps.core.money import NANO_PER_CENT, MoneyProblem, nano_from_usd, usd


class LinesField(forms.CharField):
    """A list, one entry a line."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "none"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]


class UsdField(forms.CharField):
    """An amount of USD, in nano-USD; nothing is None."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, int):
            return value
        whole, _point, places = usd(value).partition(".")
        return f"{whole}.{places.rstrip('0').ljust(2, '0')}"

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        text = (super().to_python(value) or "").removeprefix("$").strip()
        if not text:
            return None
        try:
            nano = nano_from_usd(text)
        except MoneyProblem as error:
            raise ValidationError(_("Write an amount in USD, such as 0.05."), code="invalid") from error
        if nano < 0:
            raise ValidationError(_("An amount is not negative."), code="invalid")
        return nano


class CentsField(UsdField):
    """An amount of USD in whole cents, in cents; nothing is None."""

    def prepare_value(self, value: Any) -> Any:
        return f"{value / 100:.2f}" if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        nano = super().to_python(value)
        if nano is None:
            return None
        cents, rest = divmod(nano, NANO_PER_CENT)
        if rest:
            raise ValidationError(_("Write whole cents."), code="invalid")
        return cents


class PercentField(forms.DecimalField):
    """Per cent with two places, in basis points."""

    def __init__(self, *, most: int, **options: Any) -> None:
        super().__init__(min_value=0, max_value=most, decimal_places=2, **options)

    def prepare_value(self, value: Any) -> Any:
        return f"{value / 100:g}" if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        number = super().clean(value)
        return None if number is None else int(number * 100)


def refuse(form: forms.BaseForm, error: FaucetError, names: Mapping[str, str] | None = None) -> None:
    """Tell a service's refusal beside the field that it names, or above the form.

    `names` are the form's names of parameters that it calls otherwise.
    """
    name = (names or {}).get(error.param or "", error.param)
    form.add_error(name if name in form.fields else None, error.message)
