from django.db import models
from django.utils.translation import gettext_lazy as _


class UsageDay(models.Model):
    """The rated calls of one day (UTC), app, feature, route, provider and model, added up; amounts in nano-USD.

    Rating adds to it in the transaction that stores a charge, so it is always equal to a recount.
    """

    day = models.DateField(_("day"))
    developer_id = models.CharField(_("developer"), max_length=40)
    app_id = models.CharField(_("app"), max_length=40)
    feature_key = models.CharField(_("feature"), max_length=64)
    route_mode = models.CharField(_("route"), max_length=16)
    provider = models.CharField(_("provider"), max_length=64)
    served_model = models.CharField(_("model"), max_length=200)
    calls = models.BigIntegerField(_("calls"))
    failed = models.BigIntegerField(_("failed calls"))
    cached = models.BigIntegerField(_("answered from the cache"))
    input_tokens = models.BigIntegerField(_("input tokens"), help_text=_("With those read from and written to caches."))
    output_tokens = models.BigIntegerField(_("output tokens"))
    price_nano = models.BigIntegerField(_("price"))
    cost_nano = models.BigIntegerField(_("cost"))
    developer_nano = models.BigIntegerField(_("developer's share"))
    platform_nano = models.BigIntegerField(_("platform's part"))
    loss_nano = models.BigIntegerField(_("loss"))
    provider_bill_nano = models.BigIntegerField(_("provider's bill to the key's owner"))
    duration_ms = models.BigIntegerField(_("duration of all calls, ms"))
    first_byte_ms = models.BigIntegerField(_("time to the first byte of all calls that had one, ms"))
    first_bytes = models.BigIntegerField(_("calls with a first byte"))

    class Meta:
        db_table = "usage_days"
        verbose_name = _("day of usage")
        verbose_name_plural = _("days of usage")
        constraints = [
            models.UniqueConstraint(
                fields=["developer_id", "day", "app_id", "feature_key", "route_mode", "provider", "served_model"],
                name="usage_days_one",
            ),
            models.CheckConstraint(
                condition=models.Q(calls__gt=0, failed__gte=0, cached__gte=0), name="usage_days_calls"
            ),
        ]
        indexes = [
            models.Index(fields=["app_id", "day"], name="usage_days_app"),
            models.Index(fields=["day"], name="usage_days_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.app_id} {self.served_model}"


class UserDay(models.Model):
    """The rated calls of one end user on one day (UTC), added up as `UsageDay` is; amounts in nano-USD."""

    day = models.DateField(_("day"))
    app_id = models.CharField(_("app"), max_length=40)
    end_user_id = models.CharField(_("end user"), max_length=40)
    developer_id = models.CharField(_("developer"), max_length=40)
    calls = models.BigIntegerField(_("calls"))
    tokens = models.BigIntegerField(_("tokens"))
    price_nano = models.BigIntegerField(_("price"))
    developer_nano = models.BigIntegerField(_("developer's share"))

    class Meta:
        db_table = "usage_user_days"
        verbose_name = _("end user's day")
        verbose_name_plural = _("end users' days")
        constraints = [
            models.UniqueConstraint(fields=["end_user_id", "day"], name="usage_user_days_one"),
            models.CheckConstraint(condition=models.Q(calls__gt=0), name="usage_user_days_calls"),
        ]
        indexes = [
            models.Index(fields=["app_id", "day"], name="usage_user_days_app"),
            models.Index(fields=["developer_id", "day"], name="usage_user_days_developer"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.end_user_id}"
