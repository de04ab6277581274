"""Credit: what others call. Lots and their drawing, expiry, grants, promo codes, allowances, limits of a wallet."""

from apps.billing.queries.credits import unused_paid
from apps.billing.services.allowances import ensure_allowance
from apps.billing.services.expiry import expire_lots
from apps.billing.services.grants import grant_promo
from apps.billing.services.lots import add_lot, draw, give_back, take_back
from apps.billing.services.promos import redeem_code
from apps.billing.services.wallet_limits import check_balance_limit

__all__ = [
    "add_lot",
    "check_balance_limit",
    "draw",
    "ensure_allowance",
    "expire_lots",
    "give_back",
    "grant_promo",
    "redeem_code",
    "take_back",
    "unused_paid",
]
