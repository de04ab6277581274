"""What may be called, by whom, and on which pricing terms."""

from apps.features.models.apps import (
    MAX_MARKUP_BPS,
    MAX_PRICE,
    App,
    AppFeature,
    Assurance,
    DeveloperPricing,
    EndUser,
    Entitlement,
    FeatureManifest,
    ManifestFormat,
    PageLink,
    PlatformPricing,
    PricingTerms,
    Status,
    VirtualKey,
    VirtualSession,
)
from apps.features.models.local import Bridge, BridgeConnection, EndpointKind, LocalEndpoint

__all__ = [
    "MAX_MARKUP_BPS",
    "MAX_PRICE",
    "App",
    "AppFeature",
    "Assurance",
    "Bridge",
    "BridgeConnection",
    "DeveloperPricing",
    "EndUser",
    "EndpointKind",
    "Entitlement",
    "FeatureManifest",
    "LocalEndpoint",
    "ManifestFormat",
    "PageLink",
    "PlatformPricing",
    "PricingTerms",
    "Status",
    "VirtualKey",
    "VirtualSession",
]
