"""What is done about abuse: throttle, stop free credit, freeze, disable. Each leaves a row by which it is undone."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing.models.disputes import Dispute, DisputeStatus
from apps.billing.models.risk import RiskAction, RiskActionKind, Subject
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.developers import queries as developers
from apps.developers.services import audit
from apps.developers.services.developers import disable_developer, enable_developer
from apps.features import queries as features
from apps.features.services.apps import resume_app, suspend_app
from apps.features.services.end_users import disable_end_user, enable_end_user
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import freeze_wallet, open_account, unfreeze_wallet
from apps.usage.limits.queries import limit_rule_of
from apps.usage.services.limits import create_limit_rule, delete_limit_rule, update_limit_rule

ACTOR = "system:risk"
# What an operator has undone is not done again by itself for so long.
TRUCE = timedelta(days=7)
# Whose money a freeze keeps: an end user's, or a developer's revenue. An app has none of its own.
_WALLETS = {Subject.END_USER: AccountKind.END_USER, Subject.DEVELOPER: AccountKind.DEVELOPER}


@transaction.atomic
def take_action(
    subject_kind: str,
    subject_id: str,
    kind: str,
    *,
    reason: str,
    score_id: str | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Do something about an app, end user or developer and return the action's id.

    `throttle`: RISK_THROTTLE_RPM calls a minute; `suspend`: no allowance and no promo code (app or end user); `freeze`:
    the wallet takes no new hold (end user or developer); `disable`: every call is refused. Raises BadRequest
    (not_applicable, reason_required), NotFound, and Conflict (already_done) while the same is in force.
    """
    if not reason.strip():
        raise BadRequest(_("Say why."), code="reason_required", param="reason")
    developer_id = _developer_of(subject_kind, subject_id)
    if RiskAction.objects.filter(subject_kind=subject_kind, subject_id=subject_id, kind=kind, undone_at=None).exists():
        raise Conflict(_("This is in force already."), code="already_done")
    before = _do(subject_kind, subject_id, kind, reason=reason, now=now, actor=actor)
    row = RiskAction.objects.create(
        id=new_id("rac"),
        subject_kind=subject_kind,
        subject_id=subject_id,
        kind=kind,
        reason=reason.strip()[:300],
        score_id=score_id,
        before=before,
        created_at=now,
        created_by=actor,
    )
    _audit(f"risk.{kind}", row, developer_id, now=now, actor=actor)
    return row.id


@transaction.atomic
def undo_action(action_id: str, *, now: datetime, actor: str) -> None:
    """Put back what an action changed. Raises NotFound, and Conflict (already_undone)."""
    row = RiskAction.objects.select_for_update().filter(pk=action_id).first()
    if row is None:
        raise NotFound(_("There is no action %(action_id)s.") % {"action_id": action_id})
    if row.undone_at is not None:
        raise Conflict(_("This was undone already."), code="already_undone")
    RiskAction.objects.filter(pk=row.pk).update(undone_at=now, undone_by=actor)
    _undo(row, now=now, actor=actor)
    developer_id = _developer_of(row.subject_kind, row.subject_id)
    _audit(f"risk.undo_{row.kind}", row, developer_id, now=now, actor=actor)


def act_on_score(subject_kind: str, subject_id: str, *, score: int, score_id: str, now: datetime) -> list[str]:
    """Do what RISK_SUSPEND_LIMIT asks for and return the ids of the actions that are new.

    An end user is throttled and gets no free credit, an app gives none any more; a developer is left to an operator.
    What an operator undid is not done again for a week.
    """
    kinds = {
        Subject.END_USER.value: (RiskActionKind.THROTTLE, RiskActionKind.SUSPEND),
        Subject.APP.value: (RiskActionKind.SUSPEND,),
    }.get(subject_kind, ())
    done = []
    for kind in kinds:
        rows = RiskAction.objects.filter(subject_kind=subject_kind, subject_id=subject_id, kind=kind)
        if rows.filter(undone_at=None).exists() or rows.filter(undone_at__gt=now - TRUCE).exists():
            continue
        done.append(
            take_action(
                subject_kind,
                subject_id,
                kind.value,
                reason=f"Risk score {score}",
                score_id=score_id,
                now=now,
                actor=ACTOR,
            )
        )
    return done


def frozen_by_risk(account_id: int) -> bool:
    """Tell whether an action in force keeps this wallet frozen: who unfreezes for another reason asks first."""
    return RiskAction.objects.filter(kind=RiskActionKind.FREEZE, undone_at=None, before__account_id=account_id).exists()


def _do(subject_kind: str, subject_id: str, kind: str, *, reason: str, now: datetime, actor: str) -> dict[str, Any]:
    """Do it and return what undoing needs to know."""
    who: dict[str, Any] = {"now": now, "actor": actor}
    if kind == RiskActionKind.THROTTLE:
        return _throttle(subject_kind, subject_id, **who)
    if kind == RiskActionKind.SUSPEND and subject_kind != Subject.DEVELOPER:
        return {}  # the row itself is what `may_take_free_credit` looks for
    if kind == RiskActionKind.FREEZE and subject_kind in _WALLETS:
        account = open_account(kind=_WALLETS[Subject(subject_kind)], owner_id=subject_id, now=now)
        froze = freeze_wallet(account, reason=reason, **who)
        # What a dispute froze is ours to unfreeze as well, if the dispute ends first.
        return {
            "account_id": account,
            "froze": froze or Dispute.objects.filter(account_id=account, froze=True).exists(),
        }
    if kind == RiskActionKind.DISABLE:
        was_active = _is_active(subject_kind, subject_id)
        if subject_kind == Subject.APP:
            suspend_app(app_id=subject_id, **who)
        elif subject_kind == Subject.END_USER:
            disable_end_user(end_user_id=subject_id, **who)
        else:
            disable_developer(subject_id, **who)
        return {"was_active": was_active}
    raise BadRequest(
        _("%(kind)s is nothing that can be done about this.") % {"kind": kind}, code="not_applicable", param="kind"
    )


def _undo(row: RiskAction, *, now: datetime, actor: str) -> None:
    who: dict[str, Any] = {"now": now, "actor": actor}
    before = row.before
    if row.kind == RiskActionKind.THROTTLE:
        _unthrottle(row, **who)
    elif row.kind == RiskActionKind.FREEZE:
        if before["froze"] and not _kept_by_dispute(before["account_id"]):
            unfreeze_wallet(before["account_id"], reason=f"{row.id} undone", **who)
    elif row.kind == RiskActionKind.DISABLE and before["was_active"]:
        if row.subject_kind == Subject.APP:
            resume_app(app_id=row.subject_id, **who)
        elif row.subject_kind == Subject.END_USER:
            enable_end_user(end_user_id=row.subject_id, **who)
        else:
            enable_developer(row.subject_id, **who)


def _kept_by_dispute(account_id: int) -> bool:
    """Tell whether a dispute is open, or was lost and its debt is still there."""
    disputes = Dispute.objects.filter(account_id=account_id)
    lost = disputes.filter(status__in=(DisputeStatus.LOST, DisputeStatus.WRITTEN_OFF))
    return disputes.filter(status=DisputeStatus.OPEN).exists() or (balance(account_id).posted < 0 and lost.exists())


def _throttle(scope: str, scope_id: str, *, now: datetime, actor: str) -> dict[str, Any]:
    most = settings.RISK_THROTTLE_RPM
    rule = limit_rule_of(scope, scope_id)
    if rule is None:
        return {"rule_id": create_limit_rule(scope=scope, scope_id=scope_id, rpm=most, now=now, actor=actor)}
    tighter = most if rule.rpm is None or not rule.enabled else min(rule.rpm, most)
    update_limit_rule(rule.id, rpm=tighter, enabled=True, now=now, actor=actor)
    return {"rule_id": rule.id, "rpm": rule.rpm, "enabled": rule.enabled}


def _unthrottle(row: RiskAction, *, now: datetime, actor: str) -> None:
    before = row.before
    rule = limit_rule_of(row.subject_kind, row.subject_id)
    if rule is None or rule.id != before["rule_id"]:
        return  # an operator has deleted it meanwhile
    if "enabled" not in before:
        delete_limit_rule(rule.id, now=now, actor=actor)
    else:
        update_limit_rule(rule.id, rpm=before["rpm"], enabled=before["enabled"], now=now, actor=actor)


def _is_active(subject_kind: str, subject_id: str) -> bool:
    if subject_kind == Subject.DEVELOPER:
        return developers.is_active(subject_id)
    found: Any = (features.app_by_id if subject_kind == Subject.APP else features.end_user_by_id)(subject_id)
    return bool(found is not None and found.active)


def _developer_of(subject_kind: str, subject_id: str) -> str:
    """Return the developer concerned. Raises NotFound."""
    if subject_kind == Subject.DEVELOPER:
        if developers.developer(subject_id) is not None:
            return subject_id
        raise NotFound(_("There is no such developer."), code="developer_not_found")
    app_id: str | None = subject_id
    if subject_kind == Subject.END_USER:
        user = features.end_user_by_id(subject_id)
        app_id = user.app_id if user is not None else None
    app = features.app_by_id(app_id) if app_id is not None else None
    if app is None:
        raise NotFound(
            _("There is no such %(subject_kind)s.") % {"subject_kind": subject_kind.replace("_", " ")},
            code=f"{subject_kind}_not_found",
        )
    return app.developer_id


def _audit(action: str, row: RiskAction, developer_id: str, *, now: datetime, actor: str) -> None:
    detail = {"action_id": row.id, "reason": row.reason, "score_id": row.score_id}
    audit.record(
        action, row.subject_kind, row.subject_id, actor=actor, now=now, developer_id=developer_id, detail=detail
    )
