from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO
from apps.vault.fields import EncryptedField


class BudgetScope(models.TextChoices):
    """Whose calls a budget counts; of a credential what the provider bills, of all others what payers are charged."""

    CREDENTIAL = "credential", _("provider credential")
    APP = "app", _("app")
    FEATURE = "feature", _("feature")
    END_USER = "end_user", _("end user")
    DEVELOPER = "developer", _("developer")


class Period(models.TextChoices):
    """How long an amount is for. Periods begin at midnight UTC."""

    DAY = "day", _("day")
    MONTH = "month", _("month")


class UseState(models.TextChoices):
    RESERVED = "reserved", _("reserved")
    SPENT = "spent", _("spent")
    RELEASED = "released", _("released")


def default_thresholds() -> list[int]:
    return [80, 95]


class Budget(models.Model):
    """How much money may be spent in a period, and what happens then."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(
        _("developer id"),
        max_length=40,
        null=True,
        blank=True,
        help_text=_("Whose budget it is; empty: the operator's."),
    )
    end_user_id = models.CharField(
        _("end user id"),
        max_length=40,
        null=True,
        blank=True,
        help_text=_("The end user who limits their own spending with it."),
    )
    scope = models.CharField(_("scope"), max_length=16, choices=BudgetScope)
    scope_id = models.CharField(
        _("scope id"), max_length=128, help_text=_("Whom it is for; of a feature: app id/feature key.")
    )
    successors = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        verbose_name=_("successors"),
        help_text=_("Of a credential: those that rotations put in its place, oldest first; their calls count too."),
    )
    period = models.CharField(_("period"), max_length=8, choices=Period)
    amount_nano = models.BigIntegerField(_("amount nano"), help_text=_("For one period, in nano-USD."))
    hard = models.BooleanField(
        _("hard"), default=True, help_text=_("Refuse calls that may exceed it; otherwise only alert.")
    )
    rollover = models.BooleanField(
        _("rollover"), default=False, help_text=_("Add what the period before left over, at most one period's amount.")
    )
    thresholds = ArrayField(
        models.SmallIntegerField(),
        default=default_thresholds,
        verbose_name=_("thresholds"),
        help_text=_("Alert at these percentages."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=64)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=64)

    class Meta:
        db_table = "budgets"
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "scope_id", "period", "developer_id"],
                condition=models.Q(developer_id__isnull=False),
                name="budgets_one_per_developer",
            ),
            models.UniqueConstraint(
                fields=["scope", "scope_id", "period", "end_user_id"],
                condition=models.Q(end_user_id__isnull=False),
                name="budgets_one_per_end_user",
            ),
            models.UniqueConstraint(
                fields=["scope", "scope_id", "period"],
                condition=models.Q(developer_id=None, end_user_id=None),
                name="budgets_one_of_the_operator",
            ),
            # Nobody is told of an end user's: who asks sees what remains.
            models.CheckConstraint(
                condition=models.Q(end_user_id=None) | models.Q(developer_id=None, thresholds=[]),
                name="budgets_one_owner",
            ),
            models.CheckConstraint(
                condition=models.Q(successors=[]) | models.Q(scope="credential"), name="budgets_successors"
            ),
            models.CheckConstraint(condition=models.Q(scope__in=BudgetScope.values), name="budgets_scope_known"),
            models.CheckConstraint(condition=~models.Q(scope_id=""), name="budgets_scope_id"),
            models.CheckConstraint(condition=models.Q(period__in=Period.values), name="budgets_period_known"),
            models.CheckConstraint(
                condition=models.Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO), name="budgets_amount"
            ),
        ]
        # There may be one of the operator's for each end user: what is for all is found past those.
        indexes = [
            models.Index(
                fields=["id"],
                condition=models.Q(enabled=True, end_user_id=None)
                & ~models.Q(developer_id=None, end_user_id=None, scope="end_user"),
                name="budgets_for_all",
            ),
            models.Index(fields=["scope", "scope_id"], name="budgets_scope_id_found"),
            GinIndex(fields=["successors"], name="budgets_successors_found"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.current_id} / {self.period}"

    @property
    def current_id(self) -> str:
        """Return whom it is for now: of a credential that was rotated, the one in its place."""
        return self.successors[-1] if self.successors else self.scope_id


class BudgetPeriod(models.Model):
    """A budget in one day or month: its limit, what was spent, and what calls under way keep reserved; nano-USD.

    The row is made by the first call in the period; what is carried over is fixed then.
    """

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="periods", verbose_name=_("budget"))
    period_start = models.DateTimeField(_("period start"))
    limit_nano = models.BigIntegerField(_("limit nano"), help_text=_("With what was carried over, in nano-USD."))
    carried_nano = models.BigIntegerField(
        _("carried nano"), help_text=_("Left over from the period before, in nano-USD.")
    )
    spent_nano = models.BigIntegerField(_("spent nano"), default=0, db_default=0)
    reserved_nano = models.BigIntegerField(_("reserved nano"), default=0, db_default=0)

    class Meta:
        db_table = "budget_periods"
        verbose_name = _("budget period")
        verbose_name_plural = _("budget periods")
        constraints = [
            models.UniqueConstraint(fields=["budget", "period_start"], name="budget_periods_one"),
            models.CheckConstraint(
                condition=models.Q(carried_nano__gte=0, limit_nano__gt=models.F("carried_nano")),
                name="budget_periods_limit",
            ),
            models.CheckConstraint(
                condition=models.Q(spent_nano__gte=0, reserved_nano__gte=0), name="budget_periods_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} from {self.period_start:%Y-%m-%d}"


class BudgetUse(models.Model):
    """What one call reserved of a budget and then spent of it, in the period in which it began; nano-USD."""

    request_id = models.CharField(_("request id"), max_length=40)
    # Written under the lock of the period, whose row and whose budget's are never deleted: a foreign key in the
    # database would check that once more for each call.
    budget = models.ForeignKey(
        Budget,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("budget"),
    )
    period = models.ForeignKey(
        BudgetPeriod, on_delete=models.PROTECT, db_constraint=False, related_name="uses", verbose_name=_("period")
    )
    reserved_nano = models.BigIntegerField(_("reserved nano"))
    spent_nano = models.BigIntegerField(_("spent nano"), default=0, db_default=0)
    state = models.CharField(
        _("state"), max_length=10, choices=UseState, default=UseState.RESERVED, db_default="reserved"
    )
    created_at = models.DateTimeField(_("created at"))
    closed_at = models.DateTimeField(_("closed at"), null=True)

    class Meta:
        db_table = "budget_uses"
        verbose_name = _("budget use")
        verbose_name_plural = _("budget uses")
        constraints = [
            models.UniqueConstraint(fields=["request_id", "budget"], name="budget_uses_one"),
            models.CheckConstraint(
                condition=models.Q(reserved_nano__gte=0, spent_nano__gte=0), name="budget_uses_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(state="reserved", spent_nano=0, closed_at=None)
                | models.Q(state="released", spent_nano=0, closed_at__isnull=False)
                | models.Q(state="spent", spent_nano__gt=0, closed_at__isnull=False),
                name="budget_uses_state",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=models.Q(closed_at=None), name="budget_uses_reserved")]

    def __str__(self) -> str:
        return f"{self.request_id} of {self.budget_id}"


class Alert(models.Model):
    """Something that somebody is to be told of once; delivered afterwards.

    A budget's is written once a period and threshold by the spending itself; other kinds by `raise_alert`, which keeps
    what is told in `data` and tells each `alert_key` once.
    """

    kind = models.CharField(_("kind"), max_length=16, default="budget", db_default="budget")
    developer_id = models.CharField(
        _("developer id"), max_length=40, null=True, help_text=_("Who is told; empty: the operator.")
    )
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("budget"))
    scope = models.CharField(_("scope"), max_length=16)
    scope_id = models.CharField(_("scope id"), max_length=128, blank=True)
    period_start = models.DateTimeField(_("period start"), null=True)
    threshold = models.SmallIntegerField(_("threshold"), null=True, help_text=_("Per cent of the limit."))
    limit_nano = models.BigIntegerField(_("limit nano"), null=True)
    spent_nano = models.BigIntegerField(_("spent nano"), null=True)
    alert_key = models.CharField(
        _("alert key"), max_length=128, null=True, help_text=_("What is told only once, of other kinds.")
    )
    data = models.JSONField(_("data"), default=dict, db_default=models.Value({}, models.JSONField()))
    created_at = models.DateTimeField(_("created at"))
    next_attempt_at = models.DateTimeField(
        _("next attempt at"), null=True, help_text=_("Empty: delivered, or given up.")
    )
    attempts = models.IntegerField(_("attempts"), default=0, db_default=0)
    delivered_at = models.DateTimeField(_("delivered at"), null=True)
    last_error = models.CharField(_("last error"), max_length=200, null=True)

    class Meta:
        db_table = "alerts"
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [
            models.UniqueConstraint(fields=["budget", "period_start", "threshold"], name="alerts_once_a_period"),
            models.UniqueConstraint(
                "kind",
                "alert_key",
                Coalesce("developer_id", models.Value("")),
                condition=models.Q(alert_key__isnull=False),
                name="alerts_once_a_key",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind="budget",
                    budget__isnull=False,
                    period_start__isnull=False,
                    threshold__isnull=False,
                    limit_nano__isnull=False,
                    spent_nano__isnull=False,
                    alert_key=None,
                )
                | (~models.Q(kind="budget") & models.Q(budget=None, alert_key__isnull=False)),
                name="alerts_kind",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=models.Q(next_attempt_at__isnull=False), name="alerts_waiting"
            ),
            models.Index(
                fields=["id"], condition=models.Q(next_attempt_at=None, delivered_at=None), name="alerts_given_up"
            ),
            models.Index(fields=["-id"], condition=models.Q(developer_id=None), name="alerts_of_the_operator"),
        ]

    def __str__(self) -> str:
        if self.threshold is None:
            return f"{self.kind} of {self.scope} {self.scope_id}"
        return f"{self.threshold} % of {self.scope} {self.scope_id}"


class AlertEndpoint(models.Model):
    """Where a developer's alerts are posted, and the secret they are signed with; one each, and the operator's."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(
        _("developer id"), max_length=40, null=True, blank=True, help_text=_("Empty: the operator.")
    )
    url = models.CharField(_("url"), max_length=500)
    secret = EncryptedField(_("secret"))
    hint = models.CharField(_("hint"), max_length=4, help_text=_("The last four characters of the secret."))
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=64)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=64)

    class Meta:
        db_table = "alert_endpoints"
        verbose_name = _("alert endpoint")
        verbose_name_plural = _("alert endpoints")
        constraints = [
            models.UniqueConstraint(
                fields=["developer_id"],
                condition=models.Q(developer_id__isnull=False),
                name="alert_endpoints_one_per_developer",
            ),
            models.UniqueConstraint(
                Coalesce("developer_id", models.Value("")),
                condition=models.Q(developer_id=None),
                name="alert_endpoints_one_of_the_operator",
            ),
        ]

    def __str__(self) -> str:
        return self.url
