"""The inbox: each event that Stripe told us of, kept before anything is done about it."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class StripeEvent(models.Model):
    """A webhook of Stripe as it came, once per event id. A row is its own queue, twice: to be handled, to be mirrored.

    `next_attempt_at` and `mirror_at` are when that is tried (again); null when it is done or given up.
    """

    id = models.CharField(_("event"), max_length=255, primary_key=True)
    type = models.CharField(_("type"), max_length=120)
    object_id = models.CharField(_("object"), max_length=255, blank=True, default="")
    stripe_account = models.CharField(
        _("connected account"), max_length=64, blank=True, default="", help_text=_("Empty: our own account.")
    )
    livemode = models.BooleanField(_("live"))
    payload = models.JSONField(_("payload"))
    created_at = models.DateTimeField(_("created at"), help_text=_("When it happened at Stripe."))
    received_at = models.DateTimeField(_("received at"))

    handled_at = models.DateTimeField(_("handled at"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=40, blank=True, default="")
    attempts = models.IntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, blank=True)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, default="")

    mirrored_at = models.DateTimeField(_("mirrored at"), null=True, blank=True)
    mirror_attempts = models.IntegerField(_("mirror attempts"), default=0)
    mirror_at = models.DateTimeField(_("mirrored next"), null=True, blank=True)
    mirror_error = models.CharField(_("mirror error"), max_length=300, blank=True, default="")

    class Meta:
        db_table = "stripe_events"
        verbose_name = _("Stripe event")
        verbose_name_plural = _("Stripe events")
        constraints = [
            models.CheckConstraint(
                condition=Q(handled_at__isnull=True) | Q(next_attempt_at__isnull=True), name="stripe_events_handled"
            ),
            models.CheckConstraint(
                condition=Q(mirrored_at__isnull=True) | Q(mirror_at__isnull=True), name="stripe_events_mirrored"
            ),
            models.CheckConstraint(condition=~Q(id="") & ~Q(type=""), name="stripe_events_named"),
            models.CheckConstraint(condition=Q(attempts__gte=0, mirror_attempts__gte=0), name="stripe_events_attempts"),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="stripe_events_due", condition=Q(next_attempt_at__isnull=False)
            ),
            models.Index(fields=["mirror_at"], name="stripe_events_mirror_due", condition=Q(mirror_at__isnull=False)),
            models.Index(
                fields=["id"], name="stripe_events_given_up", condition=Q(handled_at=None, next_attempt_at=None)
            ),
            models.Index(fields=["object_id"], name="stripe_events_object"),
            models.Index(fields=["received_at"], name="stripe_events_received"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"
