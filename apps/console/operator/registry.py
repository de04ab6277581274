"""Where ids stand in all rooms, what can be switched off in them, and what the pages call their tables."""

from apps.billing import finding as billing
from apps.billing.switches import SWITCHES as BILLING
from apps.catalog import finding as catalog
from apps.catalog.switches import SWITCHES as CATALOG
from apps.core.finding import Place
from apps.core.switches import Switch
from apps.developers import finding as developers
from apps.developers.switches import SWITCHES as DEVELOPERS
from apps.features import finding as features
from apps.features.switches import SWITCHES as FEATURES
from apps.ledger import finding as ledger
from apps.ledger.switches import SWITCHES as LEDGER
from apps.usage import finding as usage
from apps.vault import finding as vault
from apps.vault.switches import SWITCHES as VAULT

PLACES: tuple[Place, ...] = (
    *usage.PLACES,
    *features.PLACES,
    *developers.PLACES,
    *billing.PLACES,
    *vault.PLACES,
    *catalog.PLACES,
    *ledger.PLACES,
)
SWITCHES: tuple[Switch, ...] = (*DEVELOPERS, *FEATURES, *LEDGER, *BILLING, *CATALOG, *VAULT)
