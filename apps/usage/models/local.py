"""Calls that an end user's own machine served by itself, as it reports them."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

# The endpoint of an event that is a report.
LOCAL_REPORT = "local.report"


class LocalReport(models.Model):
    """A report that was accepted: what its sender called it, and the event that it became. Never changed."""

    id = models.BigAutoField(_("id"), primary_key=True)
    end_user_id = models.CharField(_("end user"), max_length=40)
    report_id = models.CharField(_("report"), max_length=64, help_text=_("As its sender named it."))
    content_hash = models.CharField(_("hash of the content"), max_length=64)
    request_id = models.CharField(_("request"), max_length=40, unique=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "local_reports"
        verbose_name = _("report of a local call")
        verbose_name_plural = _("reports of local calls")
        constraints = [
            # What makes a report that is sent again, after a crash or at the same time, the one event that it was.
            models.UniqueConstraint(fields=["end_user_id", "report_id"], name="local_reports_once"),
            models.CheckConstraint(condition=~Q(report_id=""), name="local_reports_named"),
        ]

    def __str__(self) -> str:
        return self.report_id
