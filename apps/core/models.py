from django.db import models
from django.db.models.expressions import Func
from django.db.models.functions import Cast, Now
from django.utils.translation import gettext_lazy as _


class PolicyEpoch(models.Model):
    """One row whose number moves with every change that the gateway must see within a second."""

    id = models.SmallIntegerField(_("id"), primary_key=True, default=1)
    number = models.BigIntegerField(_("number"), default=0)

    class Meta:
        db_table = "policy_epoch"
        verbose_name = _("policy epoch")
        verbose_name_plural = _("policy epochs")
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="policy_epoch_one_row")]

    def __str__(self) -> str:
        return str(self.number)


class ForgottenCaller(models.Model):
    """What gateways know of one caller, and must load again: beside the epoch, which makes them load everything.

    Read by `transaction_id`: numbers given out by a sequence become visible out of order, and a reader that remembers
    the last one would miss what commits late. Kept for an hour.
    """

    id = models.BigAutoField(_("id"), primary_key=True)
    kind = models.CharField(_("kind"), max_length=20)
    subject_id = models.CharField(_("subject id"), max_length=40)
    transaction_id = models.BigIntegerField(
        _("transaction id"),
        db_default=Cast(Cast(Func(function="pg_current_xact_id"), models.TextField()), models.BigIntegerField()),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "forgotten_callers"
        verbose_name = _("forgotten caller")
        verbose_name_plural = _("forgotten callers")
        indexes = [
            models.Index(fields=["transaction_id"], name="forgotten_callers_transaction"),
            models.Index(fields=["created_at"], name="forgotten_callers_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id}"


class TaskRun(models.Model):
    """The last run of a scheduled task. One row a task, written over: a history is what logs are for."""

    name = models.CharField(_("task"), max_length=100, primary_key=True)
    started_at = models.DateTimeField(_("started at"))
    duration_ms = models.BigIntegerField(_("duration, ms"))
    failures = models.IntegerField(_("failures in a row"))
    error = models.CharField(_("error"), max_length=300, blank=True)
    failed_at = models.DateTimeField(_("last failed at"), null=True)
    succeeded_at = models.DateTimeField(_("last succeeded at"), null=True)

    class Meta:
        db_table = "task_runs"
        verbose_name = _("run of a task")
        verbose_name_plural = _("runs of tasks")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(failures__gte=0, duration_ms__gte=0), name="task_runs_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return self.name
