"""The forms of exports and of providers' bills."""

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.utils.translation import gettext as _now_
from django.utils.translation import gettext_lazy as _

from apps.billing.models.reconciliation import ProviderInvoice
from apps.billing.queries.exports import OPERATOR_KINDS
from apps.billing.services.invoice_files import Columns
from apps.catalog.queries import provider_ids

_LABELS = {
    "usage": _("usage: a line a call"),
    "revenue": _("revenue: by day, app, feature and route mode"),
    "payouts": _("payouts"),
    "ledger": _("ledger: a line an entry"),
    "tax": _("tax: top-ups, invoices, refunds and disputes"),
    "differences": _("differences of the reconciliation"),
}


class ExportForm(forms.Form):
    """Which table, of whom, of which days."""

    kind = forms.ChoiceField(label=_("Table"), choices=[(kind, _LABELS[kind]) for kind in OPERATOR_KINDS])
    developer_id = forms.CharField(
        label=_("Developer"),
        max_length=40,
        required=False,
        help_text=_("A developer's id; empty for the whole instance."),
    )
    begin = forms.DateField(label=_("From"), required=False, help_text=_("First day (UTC)."))
    end = forms.DateField(label=_("Until"), required=False, help_text=_("The day after the last one (UTC)."))
    bom = forms.BooleanField(label=_("For Excel"), required=False, help_text=_("Begins with a byte order mark."))

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        begin, end = given.get("begin"), given.get("end")
        if begin and end and end <= begin:
            self.add_error("end", _now_("It must be later than the first day."))
        return given

    def period(self) -> tuple[datetime | None, datetime | None]:
        """Return the first moment of both days, in UTC."""
        days = (self.cleaned_data["begin"], self.cleaned_data["end"])
        begin, end = (None if day is None else datetime.combine(day, time(), UTC) for day in days)
        return begin, end


class InvoiceForm(forms.ModelForm):
    """A file, whose bill it is, and the columns where they are not found by their usual names."""

    # Not named after the column: the form would have the model check it.
    issuer = forms.ChoiceField(label=_("Provider"))
    file = forms.FileField(label=_("File"), help_text=_("CSV with a line for each day and model, amounts in USD."))
    total = forms.DecimalField(
        label=_("Total of the bill"), required=False, help_text=_("USD; a file that sums to something else is refused.")
    )
    day_column = forms.CharField(label=_("Column of the day"), required=False, max_length=100)
    model_column = forms.CharField(label=_("Column of the model"), required=False, max_length=100)
    amount_column = forms.CharField(label=_("Column of the amount"), required=False, max_length=100)
    tokens_columns = forms.CharField(
        label=_("Columns of tokens"),
        required=False,
        max_length=500,
        help_text=_("Several with commas; they are added."),
    )
    date_format = forms.CharField(
        label=_("Format of days"), required=False, max_length=40, help_text=_("Such as %d.%m.%Y; empty for ISO 8601.")
    )
    allow_repeats = forms.BooleanField(
        label=_("Equal lines are several"),
        required=False,
        help_text=_("Else a line that stands there twice is refused."),
    )

    class Meta:
        model = ProviderInvoice
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        issuer = self.fields["issuer"]
        assert isinstance(issuer, forms.ChoiceField)
        issuer.choices = [(name, name) for name in provider_ids()]

    def columns(self) -> Columns:
        """Return which columns to read."""
        given = self.cleaned_data
        tokens = tuple(name.strip() for name in given["tokens_columns"].split(",") if name.strip())
        return Columns(given["day_column"], given["model_column"], given["amount_column"], tokens, given["date_format"])
