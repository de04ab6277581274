"""What other rooms ask of fees: which routes an end user may not take, what an app's users are charged."""

from collections.abc import Collection
from dataclasses import dataclass

from apps.billing.models.fees import AppFee, Fee, FeeSubscription, FeeSubscriptionStatus

NOT_ACKNOWLEDGED = "fee_not_acknowledged"
UNPAID = "fee_unpaid"


def routes_refused(app_id: str, end_user_id: str) -> dict[str, str]:
    """Return the routes (byok, local, any) of required fees that an end user has not agreed to or not paid, with why.

    `fee_not_acknowledged` or `fee_unpaid`. One query for an app that requires none.
    """
    required = list(
        AppFee.objects.filter(app_id=app_id, required=True, withdrawn_at=None).values_list("fee_key", flat=True)
    )
    if not required:
        return {}
    open_ones = FeeSubscription.objects.filter(end_user_id=end_user_id, fee_key__in=required)
    statuses = dict(open_ones.exclude(status=FeeSubscriptionStatus.ENDED).values_list("fee_key", "status"))
    present = Fee.objects.filter(key__in=required).order_by("key", "-version").distinct("key")
    refused: dict[str, str] = {}
    for key, route in present.values_list("key", "route"):
        status = statuses.get(key)
        if status is None:
            refused[route] = NOT_ACKNOWLEDGED
        elif status == FeeSubscriptionStatus.SUSPENDED:
            refused.setdefault(route, UNPAID)
    return refused


@dataclass(frozen=True, slots=True)
class AppFeeInfo:
    """A fee of the catalogue that an app charges: `amount` in nano-USD each `interval`, in its present version."""

    app_id: str
    key: str
    name: str
    route: str
    amount: int
    interval: str
    developer_share_bps: int
    required: bool


def fees_of_apps(app_ids: Collection[str]) -> tuple[AppFeeInfo, ...]:
    """Return what apps require of their users or offer them, by app and key."""
    rows = list(AppFee.objects.filter(app_id__in=app_ids, withdrawn_at=None).order_by("app_id", "fee_key"))
    keys = {row.fee_key for row in rows}
    present = {fee.key: fee for fee in Fee.objects.filter(key__in=keys).order_by("key", "-version").distinct("key")}
    return tuple(
        AppFeeInfo(
            row.app_id,
            fee.key,
            fee.name,
            fee.route,
            fee.amount_nano,
            fee.interval,
            fee.developer_share_bps,
            row.required,
        )
        for row in rows
        if (fee := present.get(row.fee_key)) is not None
    )
