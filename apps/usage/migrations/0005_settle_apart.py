import re
from pathlib import Path

from django.db import migrations, models

HERE = Path(__file__)
EARLIER = HERE.with_name("settle.sql").read_text()


def earlier(pattern: str) -> str:
    """Return a statement as 0002 wrote it."""
    found = re.search(pattern, EARLIER, re.MULTILINE | re.DOTALL)
    assert found is not None, pattern
    return found[0]


FACTS = r"^CREATE TRIGGER usage_events_facts.*?;\n"
SETTLE = r"^CREATE FUNCTION usage_settle.*?\nEND \$\$;\n"
BACK = (
    "DROP TRIGGER usage_events_facts ON usage_events;\n"
    + earlier(FACTS)
    + earlier(SETTLE).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    + "DROP FUNCTION usage_meter(text[]);"
)


def column(name: str, field: models.Field) -> migrations.AddField:
    return migrations.AddField("usageevent", name, field)


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_limit_rules"), ("ledger", "0005_lock_holds")]
    operations = [
        column(
            "provider_bill_nano",
            models.BigIntegerField(
                db_default=0, default=0, help_text="What the provider bills the owner of the key, in nano-USD."
            ),
        ),
        column(
            "policy",
            models.CharField(help_text="Routing policy that ordered the targets.", max_length=32, null=True),
        ),
        column("task_class", models.CharField(help_text="What `auto` took the request for.", max_length=32, null=True)),
        column(
            "routing",
            models.JSONField(help_text="The decision, and why each other candidate was rejected.", null=True),
        ),
        column(
            "degraded",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="Served by the feature's last resort, not by what was asked for.",
            ),
        ),
        column(
            "cache",
            models.CharField(
                choices=[("exact", "exact"), ("semantic", "semantic")],
                help_text="Answered from this cache.",
                max_length=16,
                null=True,
            ),
        ),
        column(
            "redactions",
            models.IntegerField(
                db_default=0, default=0, help_text="Values that were replaced before the provider saw the request."
            ),
        ),
        column(
            "prompt_hash", models.CharField(help_text="Kept where the manifest asks for it.", max_length=64, null=True)
        ),
        column(
            "manifest_id", models.CharField(help_text="The manifest that the call followed.", max_length=40, null=True)
        ),
        migrations.AddConstraint(
            "usageevent",
            models.CheckConstraint(
                condition=models.Q(provider_bill_nano__gte=0, redactions__gte=0),
                name="usage_events_counts_not_negative",
            ),
        ),
        migrations.AddConstraint(
            "usageevent",
            models.CheckConstraint(
                condition=models.Q(cache=None) | models.Q(cache__in=["exact", "semantic"]), name="usage_events_cache"
            ),
        ),
        migrations.RunSQL(HERE.with_suffix(".sql").read_text(), BACK),
    ]
