import re
from pathlib import Path

from django.db import migrations, models

# As 0005 wrote them, with one column more beside `cache`.
EARLIER = Path(__file__).with_name("0005_settle_apart.sql").read_text()
SETTLE = re.search(r"^CREATE OR REPLACE FUNCTION usage_settle.*?\nEND \$\$;\n", EARLIER, re.MULTILINE | re.DOTALL)[0]
FACTS = re.search(r"^CREATE TRIGGER usage_events_facts.*?;\n", EARLIER, re.MULTILINE | re.DOTALL)[0]
DROP = "DROP TRIGGER usage_events_facts ON usage_events;\n"


def with_price(statement: str) -> str:
    """Return a statement with the new column beside `cache` wherever that is listed, selected or typed."""
    for old, new in (
        (" cache, redactions", " cache, cache_price_bps, redactions"),
        (" e.cache, coalesce", " e.cache, e.cache_price_bps, coalesce"),
        (" cache text,", " cache text, cache_price_bps integer,"),
    ):
        statement = statement.replace(old, new)
    return statement


NEW_SETTLE, NEW_FACTS = with_price(SETTLE), with_price(FACTS)
assert (NEW_SETTLE.count("cache_price_bps"), NEW_FACTS.count("cache_price_bps")) == (3, 1)


class Migration(migrations.Migration):
    dependencies = [("usage", "0006_budgets")]
    operations = [
        migrations.AddField(
            "usageevent",
            "cache_price_bps",
            models.IntegerField(
                null=True, help_text="Part of the price that an answer from the cache costs, in basis points."
            ),
        ),
        migrations.AddConstraint(
            "usageevent",
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
        ),
        migrations.RunSQL(NEW_SETTLE + DROP + NEW_FACTS, SETTLE + DROP + FACTS),
    ]
