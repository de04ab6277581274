"""Where ids of this room's rows stand, for operators who look for one."""

from apps.core.finding import Place
from apps.features.models import (
    App,
    AppFeature,
    Bridge,
    BridgeConnection,
    EndUser,
    FeatureManifest,
    LocalEndpoint,
    VirtualKey,
    VirtualSession,
)

PLACES = (
    Place(App, prefixes=("app_",)),
    Place(App, "public_id", prefixes=("app_pub_",)),
    Place(AppFeature, prefixes=("feat_",)),
    Place(FeatureManifest, prefixes=("man_",)),
    Place(EndUser, prefixes=("usr_",)),
    Place(VirtualSession, prefixes=("sess_",)),
    Place(VirtualKey, prefixes=("key_",)),
    Place(Bridge, prefixes=("brg_",)),
    Place(BridgeConnection, "connection_id", prefixes=("conn_",)),
    Place(LocalEndpoint, prefixes=("lep_",)),
)
