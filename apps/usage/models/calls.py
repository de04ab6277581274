from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils.translation import gettext_lazy as _

# Ids of other rooms are plain columns: an event is a fact that outlives what it names, nothing cascades into
# it, and the hot insert checks no foreign key.


class Outcome(models.TextChoices):
    """How a call ended; docs/reference/money.md says what each costs whom."""

    FINISHED = "finished", _("finished")
    EMPTY = "empty", _("empty answer")
    ERROR_FINISH = "error_finish", _("finish reason error")
    CLIENT_LEFT = "client_left", _("client left")
    PROVIDER_FAILED = "provider_failed", _("provider failed in mid-answer")
    NOT_SERVED = "not_served", _("no provider answered")
    ABANDONED = "abandoned", _("the process died")


class CacheHit(models.TextChoices):
    """Which cache answered in a provider's place."""

    EXACT = "exact", _("exact")
    SEMANTIC = "semantic", _("semantic")


class UsageEvent(models.Model):
    """What one call consumed: written once per request id, whatever happened; rated later, never changed."""

    request_id = models.CharField(_("request id"), max_length=40, unique=True)
    app_id = models.CharField(_("app id"), max_length=40)
    developer_id = models.CharField(_("developer id"), max_length=40)
    end_user_id = models.CharField(_("end user id"), max_length=40, null=True)
    feature_key = models.CharField(_("feature key"), max_length=64)
    principal_id = models.CharField(
        _("principal id"), max_length=40, help_text=_("The session or virtual key that called.")
    )
    account_id = models.BigIntegerField(_("account id"), help_text=_("Ledger account of the payer."))
    endpoint = models.CharField(_("endpoint"), max_length=32)
    stream = models.BooleanField(_("stream"))
    route_mode = models.CharField(_("route mode"), max_length=16)
    provider = models.CharField(_("provider"), max_length=64)
    credential_id = models.CharField(_("credential id"), max_length=40)
    requested_model = models.CharField(_("requested model"), max_length=200)
    served_model = models.CharField(_("served model"), max_length=200)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome)
    charged = models.BooleanField(_("charged"), help_text=_("False where the payer owes nothing, whatever it cost."))
    finish_reason = models.CharField(_("finish reason"), max_length=32, null=True)
    error_code = models.CharField(_("error code"), max_length=64, null=True)
    status = models.SmallIntegerField(_("status"), help_text=_("HTTP status the client got; 0 where it got none."))
    input_tokens = models.BigIntegerField(_("input tokens"))
    cache_read_tokens = models.BigIntegerField(_("cache read tokens"))
    cache_write_tokens = models.BigIntegerField(_("cache write tokens"))
    output_tokens = models.BigIntegerField(_("output tokens"))
    reasoning_tokens = models.BigIntegerField(_("reasoning tokens"))
    estimated = models.BooleanField(
        _("estimated"), help_text=_("Tokens were counted here: the provider reported none.")
    )
    output_cap = models.BigIntegerField(
        _("output cap"), null=True, help_text=_("Output limit that was lowered to fit the funds.")
    )
    price_version_id = models.CharField(_("price version id"), max_length=40, null=True)
    terms_id = models.BigIntegerField(_("terms id"))
    infra_nano = models.BigIntegerField(_("infra nano"))
    payment_bps = models.IntegerField(_("payment bps"))
    price_nano = models.BigIntegerField(_("price nano"), help_text=_("Price the client was told, in nano-USD."))
    cost_nano = models.BigIntegerField(_("cost nano"), help_text=_("What the provider bills us, in nano-USD."))
    provider_bill_nano = models.BigIntegerField(
        _("provider bill nano"),
        default=0,
        db_default=0,
        help_text=_("What the provider bills the owner of the key, in nano-USD."),
    )
    attempts = models.JSONField(_("attempts"), help_text=_("Targets tried in order, with how each failed."))
    policy = models.CharField(
        _("policy"), max_length=32, null=True, help_text=_("Routing policy that ordered the targets.")
    )
    task_class = models.CharField(
        _("task class"), max_length=32, null=True, help_text=_("What `auto` took the request for.")
    )
    routing = models.JSONField(
        _("routing"), null=True, help_text=_("The decision, and why each other candidate was rejected.")
    )
    degraded = models.BooleanField(
        _("degraded"),
        default=False,
        db_default=False,
        help_text=_("Served by the feature's last resort, not by what was asked for."),
    )
    cache = models.CharField(
        _("cache"), max_length=16, null=True, choices=CacheHit, help_text=_("Answered from this cache.")
    )
    cache_price_bps = models.IntegerField(
        _("cache price bps"),
        null=True,
        help_text=_("Part of the price that an answer from the cache costs, in basis points."),
    )
    redactions = models.IntegerField(
        _("redactions"),
        default=0,
        db_default=0,
        help_text=_("Values that were replaced before the provider saw the request."),
    )
    prompt_hash = models.CharField(
        _("prompt hash"), max_length=64, null=True, help_text=_("Kept where the manifest asks for it.")
    )
    manifest_id = models.CharField(
        _("manifest id"), max_length=40, null=True, help_text=_("The manifest that the call followed.")
    )
    started_at = models.DateTimeField(_("started at"))
    first_byte_ms = models.IntegerField(_("first byte ms"), null=True)
    duration_ms = models.IntegerField(_("duration ms"))
    effective_at = models.DateTimeField(_("effective at"))
    created_at = models.DateTimeField(_("created at"))
    rated_at = models.DateTimeField(_("rated at"), null=True)
    rating_error = models.CharField(
        _("rating error"), max_length=200, null=True, help_text=_("Why rating set this event aside.")
    )

    class Meta:
        db_table = "usage_events"
        verbose_name = _("usage event")
        verbose_name_plural = _("usage events")
        indexes = [
            models.Index(
                fields=["id"],
                condition=models.Q(rated_at=None, rating_error=None),
                name="usage_events_unrated",
            ),
            models.Index(fields=["id"], condition=models.Q(rating_error__isnull=False), name="usage_events_set_aside"),
            models.Index(fields=["app_id", "effective_at"], name="usage_events_app"),
            models.Index(fields=["developer_id", "effective_at"], name="usage_events_developer"),
            models.Index(
                fields=["end_user_id", "effective_at"],
                condition=models.Q(end_user_id__isnull=False),
                name="usage_events_end_user",
            ),
            models.Index(
                fields=["principal_id", "effective_at"],
                condition=models.Q(end_user_id=None),
                name="usage_events_key",
            ),
            # For what looks at a period of the whole instance: a few kilobytes, and rows arrive in this order.
            BrinIndex(fields=["effective_at"], name="usage_events_time", pages_per_range=64, autosummarize=True),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    input_tokens__gte=0,
                    cache_read_tokens__gte=0,
                    cache_write_tokens__gte=0,
                    output_tokens__gte=0,
                    reasoning_tokens__gte=0,
                ),
                name="usage_events_tokens_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(price_nano__gte=0, cost_nano__gte=0, infra_nano__gte=0, payment_bps__gte=0),
                name="usage_events_money_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(charged=True) | models.Q(price_nano=0), name="usage_events_uncharged_is_free"
            ),
            models.CheckConstraint(
                condition=models.Q(provider_bill_nano__gte=0, redactions__gte=0),
                name="usage_events_counts_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(cache=None) | models.Q(cache__in=CacheHit.values), name="usage_events_cache"
            ),
            models.CheckConstraint(
                condition=models.Q(cache=None, cache_price_bps=None)
                | models.Q(
                    cache__isnull=False,
                    cache_price_bps__isnull=False,
                    cache_price_bps__gte=0,
                    cache_price_bps__lte=10_000,
                    cost_nano=0,
                    provider_bill_nano=0,
                ),
                name="usage_events_cache_costs_nothing",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id


class UsageCharge(models.Model):
    """What rating made of an event: the split in nano-USD and the ledger transaction that posts it."""

    event = models.OneToOneField(
        UsageEvent, on_delete=models.PROTECT, related_name="charge", primary_key=True, verbose_name=_("event")
    )
    price_nano = models.BigIntegerField(_("price nano"))
    cost_nano = models.BigIntegerField(_("cost nano"))
    infra_nano = models.BigIntegerField(_("infra nano"))
    payment_nano = models.BigIntegerField(_("payment nano"))
    developer_nano = models.BigIntegerField(_("developer nano"))
    platform_nano = models.BigIntegerField(_("platform nano"))
    loss_nano = models.BigIntegerField(_("loss nano"))
    provider_bill_nano = models.BigIntegerField(
        _("provider bill nano"), help_text=_("Bill of the developer's own provider, as information.")
    )
    transaction_id = models.BigIntegerField(
        _("transaction id"), null=True, unique=True, help_text=_("None where no money moved.")
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "usage_charges"
        verbose_name = _("usage charge")
        verbose_name_plural = _("usage charges")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    price_nano__gte=0, cost_nano__gte=0, infra_nano__gte=0, payment_nano__gte=0, developer_nano__gte=0
                ),
                name="usage_charges_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    price_nano=models.F("cost_nano")
                    + models.F("infra_nano")
                    + models.F("payment_nano")
                    + models.F("developer_nano")
                    + models.F("platform_nano")
                    - models.F("loss_nano")
                ),
                name="usage_charges_legs_sum",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class IdempotencyRecord(models.Model):
    """The outcome of a request that came with an Idempotency-Key, kept so that a repeat is answered from it.

    The answer is encrypted under a key made from the caller's own token: nobody can read it from the database.
    """

    scope = models.CharField(_("scope"), max_length=40, help_text=_("The end user or virtual key the key belongs to."))
    key_hash = models.CharField(_("key hash"), max_length=64)
    body_hash = models.CharField(_("body hash"), max_length=64)
    request_id = models.CharField(_("request id"), max_length=40, unique=True)
    done_at = models.DateTimeField(_("done at"), null=True)
    status = models.SmallIntegerField(_("status"), null=True)
    headers = models.JSONField(_("headers"), null=True)
    body = models.BinaryField(
        _("body"), null=True, help_text=_("Encrypted; empty where the answer was too long to keep.")
    )
    lease_until = models.DateTimeField(_("lease until"), help_text=_("Until when the first request counts as running."))
    expires_at = models.DateTimeField(_("expires at"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "idempotency_records"
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        constraints = [models.UniqueConstraint(fields=["scope", "key_hash"], name="idempotency_records_key")]
        indexes = [models.Index(fields=["expires_at"], name="idempotency_records_expiry")]

    def __str__(self) -> str:
        return self.request_id
