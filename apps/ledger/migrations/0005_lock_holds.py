import re
from pathlib import Path

from django.db import migrations

HERE = Path(__file__)
EARLIER = HERE.with_name("0003_holds.sql").read_text()


def as_it_was(name: str) -> str:
    """Return the statement that puts a function back to what 0003 made it."""
    found = re.search(rf"^CREATE (FUNCTION {name}\(.*?\nEND \$\$;\n)", EARLIER, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return f"CREATE OR REPLACE {found[1]}"


class Migration(migrations.Migration):
    dependencies = [("ledger", "0004_post_batch")]
    operations = [
        migrations.RunSQL(
            HERE.with_suffix(".sql").read_text(),
            "".join(as_it_was(f"ledger_{verb}_holds") for verb in ("meter", "void", "expire", "capture"))
            + "DROP FUNCTION ledger_lock_holds(text[], bigint[]);",
        ),
    ]
