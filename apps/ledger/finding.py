"""Where ids of this room's rows stand, for operators who look for one."""

from apps.core.finding import Place
from apps.ledger.models import Hold, LedgerAccount, LedgerTransaction, Wallet

PLACES = (
    Place(Hold, "request_id", prefixes=("req_",)),
    Place(LedgerTransaction),
    Place(LedgerTransaction, "idempotency_key"),
    Place(LedgerAccount),
    Place(Wallet),
    Place(Hold),
)
