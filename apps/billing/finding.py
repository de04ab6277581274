"""Where ids of this room's rows stand, ours and Stripe's, for operators who look for one."""

from apps.billing.models.credits import CreditLot
from apps.billing.models.disputes import Dispute
from apps.billing.models.payouts import Payout, PayoutAccount
from apps.billing.models.plans import Subscription, SubscriptionInvoice
from apps.billing.models.reconciliation import (
    BalanceTransaction,
    ProviderInvoice,
    ReconciliationItem,
    ReconciliationRun,
)
from apps.billing.models.risk import RiskAction, RiskScore
from apps.billing.models.stripe import StripeEvent
from apps.billing.models.top_ups import BillingCustomer, Refund, TopUp
from apps.core.finding import Place

PLACES = (
    Place(TopUp, prefixes=("top_",)),
    Place(TopUp, "checkout_session_id", prefixes=("cs_",)),
    Place(TopUp, "payment_intent_id", prefixes=("pi_",)),
    Place(TopUp, "charge_id", prefixes=("ch_", "py_")),
    Place(Refund, prefixes=("rfd_",)),
    Place(Refund, "stripe_refund_id", prefixes=("re_", "pyr_")),
    Place(Dispute, prefixes=("dsp_",)),
    Place(Dispute, "stripe_dispute_id", prefixes=("dp_", "du_")),
    Place(Payout, prefixes=("pay_",)),
    Place(Payout, "transfer_id", prefixes=("tr_",)),
    Place(Payout, "stripe_payout_id", prefixes=("po_",)),
    Place(PayoutAccount, prefixes=("dev_",)),
    Place(PayoutAccount, "stripe_account_id", prefixes=("acct_",)),
    Place(StripeEvent, prefixes=("evt_",)),
    Place(BillingCustomer, "customer_id", prefixes=("cus_",)),
    Place(Subscription, "stripe_subscription_id", prefixes=("sub_",)),
    Place(Subscription),
    Place(SubscriptionInvoice, prefixes=("in_",)),
    Place(BalanceTransaction, prefixes=("txn_",)),
    Place(CreditLot, prefixes=("lot_",)),
    Place(ReconciliationRun, prefixes=("rec_",)),
    Place(ReconciliationItem, prefixes=("dif_",)),
    Place(ProviderInvoice, prefixes=("pinv_",)),
    Place(RiskScore, prefixes=("rsk_",)),
    Place(RiskAction, prefixes=("rac_",)),
)
