"""What is charged beside the calls: told in full, and acknowledged before anything is."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import get_language
from django.utils.translation import gettext as __
from django.views.decorators.http import require_POST, require_safe

from apps.billing.models.fees import FeeInterval, FeeSubscriptionStatus
from apps.billing.services.fees import FeeTold, cancel_fee, fees_for, subscribe
from apps.catalog.queries import providers
from apps.console.user.access import Visit, refused, render_page, user_page
from apps.core.clock import now
from apps.vault.disclosures import disclosure, training_notice
from apps.vault.models import FeeMode
from apps.vault.queries import consents_of
from apps.vault.services import acknowledge_fee


@require_safe
@user_page()
def fees(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Tell every fee, whether it was acknowledged, and what becomes of data at each provider."""
    language = get_language() or "en"
    known = consents_of(visit.user_id)
    told = [disclosure(visit.principal.terms, mode, language=language) for mode in FeeMode.values]
    context = {
        "modes": [
            {"told": row, "name": FeeMode(row.mode).label, "acknowledged": known.get(row.mode, -1) >= row.fee}
            for row in told
        ],
        "catalogue": [_shown(row) for row in fees_for(visit.app.id, visit.user_id, language=language)],
        "providers": [
            {"row": row, "notice": training_notice(row, language=language)}
            for row in providers()
            if row.active and row.byok_allowed
        ],
    }
    return render_page(request, visit, "fees.html", context)


@require_POST
@user_page()
def acknowledge(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Store that the user took note of a fee, which must be the present one."""
    mode, fee = request.POST.get("mode", ""), request.POST.get("fee", "")
    if mode not in FeeMode.values or not _is_amount(fee):
        return refused(request, visit, status=400, message=__("Open the page again and repeat this."))
    acknowledge_fee(
        end_user_id=visit.user_id,
        app_id=visit.app.id,
        terms=visit.principal.terms,
        mode=mode,
        fee=int(fee),
        language=get_language() or "en",
        now=now(),
    )
    messages.success(request, __("Noted."))
    return redirect("me:local" if request.POST.get("back") == "local" else "me:fees", visit.link_id)


@require_POST
@user_page()
def agree(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Agree to a fee of the catalogue at the amount that was shown; its first period is charged now."""
    amount = request.POST.get("amount", "")
    if not _is_amount(amount):
        return refused(request, visit, status=400, message=__("Open the page again and repeat this."))
    subscribe(
        visit.user_id,
        visit.app.id,
        request.POST.get("fee", "")[:40],
        amount=int(amount),
        language=get_language() or "en",
        now=now(),
        actor=visit.actor,
    )
    messages.success(request, __("Agreed and charged."))
    return redirect("me:fees", visit.link_id)


@require_POST
@user_page()
def cancel(request: HttpRequest, visit: Visit, subscription_id: str) -> HttpResponse:
    """End a fee with what is paid; nothing more is charged."""
    cancel_fee(subscription_id, end_user_id=visit.user_id, now=now(), actor=visit.actor)
    messages.success(request, __("It ends with what is paid. Nothing more is charged."))
    return redirect("me:fees", visit.link_id)


def _shown(told: FeeTold) -> dict[str, Any]:
    active = told.status in (FeeSubscriptionStatus.ACTIVE, FeeSubscriptionStatus.SUSPENDED)
    return {
        "told": told,
        "monthly": told.interval == FeeInterval.MONTH,
        "status": FeeSubscriptionStatus(told.status).label if told.status else "",
        "may_agree": told.status != FeeSubscriptionStatus.ACTIVE,
        "may_cancel": active and told.interval == FeeInterval.MONTH,
    }


def _is_amount(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
