"""What the pages of apps and features have in common: whose app it is, and which models there are."""

from datetime import UTC, date, datetime, timedelta

from django.http import Http404
from django.utils.translation import gettext as _

from apps.catalog.queries import load_catalog
from apps.console.access import Seat
from apps.features.queries import AppInfo, FeatureInfo, app_by_id, feature_by_key


def app_of(seat: Seat, app_id: str) -> AppInfo:
    """Return an app of this developer. Raises Http404 for anybody else's."""
    app = app_by_id(app_id)
    if app is None or app.developer_id != seat.developer_id:
        raise Http404("There is no such app.")
    return app


def feature_of(app: AppInfo, key: str) -> FeatureInfo:
    """Return a feature of an app. Raises Http404 where there is none."""
    feature = feature_by_key(app.id, key)
    if feature is None:
        raise Http404("There is no such feature.")
    return feature


def models_offered(*, now: datetime) -> list[str]:
    """Return the models that answer questions here and have a price, in alphabetical order."""
    offers = load_catalog(now=now).offers
    return sorted(
        model
        for model, found in offers.items()
        if any(offer.price is not None and "chat" in offer.capabilities for offer in found)
    )


def days_ago(days: int, *, now: datetime) -> tuple[date, date]:
    """Return the first and the last of so many days, today (UTC) included."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=days - 1), today


def gate_words(key: str) -> str:
    """Return what a gate of an app asks for, in words."""
    return {
        "status": _("The app is on"),
        "origins": _("Allowed origins are named"),
        "rate_limit": _("A limit bounds its calls; the operator sets it"),
        "manifest": _("A feature has a manifest"),
        "markup": _("The price is above cost"),
        "share": _("You have a share; the operator sets it"),
    }[key]


def plan_gate_words(gate: str) -> str:
    """Return what a part of the service is called that not every plan includes."""
    return {
        "custom_rules": _("rules of your own"),
        "advanced_routing": _("routing by price, quality or speed"),
        "semantic_cache": _("answers from similar questions"),
        "prompt_debug_log": _("a log of prompts"),
        "value_pricing": _("prices by value"),
    }.get(gate, gate)
