"""The developer's plan: what it includes and what of it is used, the others, and changing it."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.billing.months import month_after, month_of, start_of
from apps.billing.queries.plans import PlanInfo, SubscriptionInfo, invoices_of, live_subscription, plans
from apps.billing.services.subscriptions import cancel, resume, settle_subscription, subscribe_to
from apps.billing.services.upgrade_prompts import FEATURE, SAVINGS, USAGE, UpgradePrompt, plan_state
from apps.billing.stripe_api import enabled
from apps.console.access import Seat, developer_page
from apps.console.developer.common import plan_gate_words
from apps.console.developer.money_words import usd_of
from apps.console.developer.wallet import own_address
from apps.core.clock import now
from apps.features.entitlements import virtual_keys_in_use
from apps.features.gates import GATES


@developer_page("money")
def plan(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show the plan with its limits and their use beside the others; who comes from paying sees what became of it."""
    moment = now()
    if "subscription" in request.GET:
        settle_subscription(seat.developer_id, now=moment)
    state = plan_state(seat.developer_id, now=moment)
    subscription = state.subscription
    names = {offered.key: offered.name for offered in state.offered}
    columns = [_column(offered, state.plan, subscription) for offered in state.offered]
    context = {
        "seat": seat,
        "plan": state.plan,
        "subscription": subscription,
        "subscribed": names.get(subscription.plan, subscription.plan) if subscription else "",
        "tokens": state.tokens,
        "keys": virtual_keys_in_use(seat.developer_id, now=moment),
        "resets": start_of(month_after(month_of(moment))),
        "prompts": [
            {
                "text": prompt_words(prompt),
                "key": prompt.suggested_plan,
                "name": names.get(prompt.suggested_plan or "", ""),
            }
            for prompt in state.prompts
        ],
        "columns": columns,
        "choices": any(column["can"] for column in columns),
        "gates": [
            (plan_gate_words(gate), [gate in offered.features for offered in state.offered]) for gate in sorted(GATES)
        ],
        "enabled": enabled(),
        "back": request.GET.get("subscription", ""),
    }
    return render(request, "console/developer/plan.html", context)


def prompt_words(prompt: UpgradePrompt) -> str:
    """Return why a larger plan is suggested."""
    values = {name: usd_of(value) if name.endswith("_usd") else value for name, value in prompt.values.items()}
    if prompt.code == USAGE:
        return _("You have used %(percent)s %% of this month’s tokens.") % values
    if prompt.code == SAVINGS:
        return _("You have saved %(saved_usd)s this month.") % values
    assert prompt.code == FEATURE
    return _("You tried something that your plan does not include: %(gate)s.") % {
        "gate": plan_gate_words(str(values["feature"]))
    }


def _column(offered: PlanInfo, present: PlanInfo | None, subscription: SubscriptionInfo | None) -> dict[str, Any]:
    """Return a plan with what can be done with it: nothing for the present one, the operator's, and free ones."""
    here = present is not None and present.key == offered.key
    pays = subscription is not None and subscription.status != "pending"
    can = not here and offered.price_cents > 0 and not (subscription is not None and subscription.manual)
    return {"plan": offered, "here": here, "can": can, "change": can and pays}


@developer_page("money", change=True)
def subscribe(request: HttpRequest, seat: Seat, plan_key: str) -> HttpResponse:
    """Ask before a plan is bought or changed, and lead to Stripe's page where it is paid."""
    wanted = next((offered for offered in plans() if offered.key == plan_key), None)
    if wanted is None or wanted.price_cents == 0:
        raise Http404("There is no such plan on offer.")
    if request.method == "POST":
        found = subscribe_to(seat.developer_id, wanted.key, base_url=own_address(request), now=now(), actor=seat.actor)
        if found.checkout_url:
            return redirect(found.checkout_url)
        messages.success(request, _("Your plan was changed."))
        return redirect("console:plan", seat.developer_id)
    subscription = live_subscription(seat.developer_id)
    present = next(
        (offered for offered in plans(all_of_them=True) if subscription and offered.key == subscription.plan), None
    )
    change = present is not None and subscription is not None and subscription.status != "pending"
    context = {
        "seat": seat,
        "plan": wanted,
        "present": present if change else None,
        "dearer": present is None or wanted.price_cents > present.price_cents,
        "enabled": enabled(),
    }
    return render(request, "console/developer/plan_subscribe.html", context)


@developer_page("money", change=True)
def cancel_plan(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask before a subscription is cancelled, and let it end with its period."""
    subscription = live_subscription(seat.developer_id)
    if subscription is None:
        return redirect("console:plan", seat.developer_id)
    if request.method == "POST":
        found = cancel(seat.developer_id, now=now(), actor=seat.actor)
        ended = found.status == "ended"
        messages.success(
            request,
            _("The subscription was given up.") if ended else _("Your plan ends with the time that is paid for."),
        )
        return redirect("console:plan", seat.developer_id)
    return render(request, "console/developer/plan_cancel.html", {"seat": seat, "subscription": subscription})


@require_POST
@developer_page("money", change=True)
def resume_plan(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Let a subscription that was cancelled go on."""
    resume(seat.developer_id, now=now(), actor=seat.actor)
    messages.success(request, _("Your plan goes on."))
    return redirect("console:plan", seat.developer_id)


@developer_page("money")
def plan_invoices(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the invoices of the subscriptions."""
    context = {"seat": seat, "rows": invoices_of(seat.developer_id)}
    return render(request, "console/developer/plan_invoices.html", context)
