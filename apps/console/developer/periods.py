"""Which days, apps and features a page of numbers is about: a form of the address, with its defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from apps.features.queries import AppInfo, FeatureInfo

DAYS = 30
MOST_DAYS = 3 * 366
# A chart of more points than this is read by weeks.
MOST_POINTS = 190
# Lengths that are one click away.
LENGTHS = ((7, _("7 days")), (30, _("30 days")), (90, _("90 days")), (365, _("12 months")))


@dataclass(frozen=True, slots=True)
class Period:
    """Days (UTC) from `begin` to `end`, both included, in steps of a day, week or month; and whose calls."""

    begin: date
    end: date
    step: str
    app_id: str | None
    feature_key: str | None

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """Return when it begins, and when it is over."""
        return at_midnight(self.begin), at_midnight(self.end + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Length:
    """A link to a period of another length, with the other filters as they are."""

    title: Any
    query: str
    current: bool


def at_midnight(day: date) -> datetime:
    """Return when a day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


class DateInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class PeriodForm(forms.Form):
    """Ask for a period, its steps, and an app and a feature. What is not given has a default."""

    begin = forms.DateField(label=_("From"), required=False, widget=DateInput())
    end = forms.DateField(label=_("To"), required=False, widget=DateInput())
    step = forms.ChoiceField(
        label=_("By"), required=False, choices=(("day", _("day")), ("week", _("week")), ("month", _("month")))
    )
    app = forms.ChoiceField(label=_("App"), required=False)
    feature = forms.ChoiceField(label=_("Feature"), required=False)

    def __init__(
        self,
        given: Mapping[str, Any],
        apps: Sequence[AppInfo],
        features: Sequence[FeatureInfo],
        *,
        today: date,
        first: date | None = None,
        step: str = "day",
    ) -> None:
        self.today, self.first, self.usual = today, first or today - timedelta(days=DAYS - 1), step
        defaults = {"begin": self.first.isoformat(), "end": today.isoformat(), "step": step}
        super().__init__({**defaults, **{name: value for name, value in given.items() if value}})
        self.choices("app", [(app.id, app.name) for app in apps], _("All apps"))
        self.choices("feature", [(key, key) for key in sorted({each.key for each in features})], _("All features"))

    def choices(self, name: str, listed: list[tuple[str, str]], nothing: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", nothing), *listed]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        begin, end = found.get("begin"), found.get("end")
        if begin and end and begin > end:
            raise ValidationError({"end": _("The last day is before the first.")})
        if begin and end and (end - begin).days >= MOST_DAYS:
            raise ValidationError({"begin": _("A period is three years at most.")})
        if end and end > self.today + timedelta(days=1):
            raise ValidationError({"end": _("This day is still to come.")})
        return found

    def period(self) -> Period:
        """Return what was asked for; what is wrong with it stays in the form, and the defaults are shown."""
        good = self.cleaned_data if self.is_valid() else {}
        begin = good.get("begin") or self.first
        end = good.get("end") or self.today
        step = good.get("step") or self.usual
        if step == "day" and (end - begin).days >= MOST_POINTS:
            step = "week"
        return Period(begin, end, step, good.get("app") or None, good.get("feature") or None)

    def lengths(self, period: Period) -> list[Length]:
        """Return links to the last days, by how many."""
        kept = {"step": period.step, "app": period.app_id, "feature": period.feature_key}
        links = []
        for days, title in LENGTHS:
            first = self.today - timedelta(days=days - 1)
            asked = {"begin": first.isoformat(), "end": self.today.isoformat(), **kept}
            query = urlencode({name: value for name, value in asked.items() if value})
            links.append(Length(title, query, (period.begin, period.end) == (first, self.today)))
        return links


def today_of(moment: datetime) -> date:
    """Return the day (UTC) that a moment is in."""
    return moment.astimezone(UTC).date()


def asked_period(
    request: HttpRequest,
    apps: Sequence[AppInfo],
    features: Sequence[FeatureInfo],
    *,
    now: datetime,
    first: date | None = None,
    step: str = "day",
) -> tuple[PeriodForm, Period]:
    """Return the form of an address and the period that it asks for, by default from `first` on, or 30 days."""
    form = PeriodForm(request.GET.dict(), apps, features, today=today_of(now), first=first, step=step)
    return form, form.period()
