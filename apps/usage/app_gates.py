"""What an app should have before strangers use it: gates that are met or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from apps.core.errors import NotFound
from apps.features.queries import AppInfo, FeatureInfo, Terms, app_by_id, features_of_app, load_terms
from apps.usage.limits.queries import is_limited

STATUS, ORIGINS, RATE_LIMIT, MANIFEST, MARKUP, SHARE = "status", "origins", "rate_limit", "manifest", "markup", "share"


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate by its key, whether it is met, and the words of who is told on a command line."""

    key: str
    met: bool
    says: str


def app_gates(app_id: str) -> tuple[Gate, ...]:
    """Return an app's gates, met or not, in the order in which they are seen to. Raises NotFound (app_not_found)."""
    app = app_by_id(app_id)
    if app is None:
        raise NotFound("There is no such app.", code="app_not_found", param="app_id")
    terms = load_terms([app.terms_id])[app.terms_id]
    return gates_of(app, terms, features_of_app(app.id), limited=is_limited("app", app.id))


def gates_of(app: AppInfo, terms: Terms, features: Sequence[FeatureInfo], *, limited: bool) -> tuple[Gate, ...]:
    """Return the gates of an app of which all is known: its terms and features, and whether a rule limits it."""
    priced = terms.fixed_price > 0 if terms.platform_pricing == "fixed" else terms.markup_bps > 0
    return (
        Gate(STATUS, app.active, "the app is switched on"),
        Gate(ORIGINS, bool(app.allowed_origins), "allowed origins name the pages it runs on"),
        Gate(RATE_LIMIT, limited, "a limit rule bounds its calls"),
        Gate(MANIFEST, any(feature.manifest_id for feature in features), "a feature has a manifest in force"),
        Gate(MARKUP, priced, "its price is above cost: a markup or a fixed price"),
        Gate(SHARE, terms.share_bps > 0, "its developer has a share"),
    )
