import re
from pathlib import Path

import django.contrib.postgres.fields
from django.db import migrations, models

HERE = Path(__file__)
_BEFORE = HERE.with_name("0006_budgets.sql").read_text()


def _before(what: str, ends: str) -> str:
    """Return the statement of 0006 that makes something, to have it as it was."""
    found = re.search(rf"^CREATE ({what}.*?{ends}\n)", _BEFORE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


BACK = f"""
CREATE {_before("FUNCTION usage_spent_of", r"[$][$];")}
CREATE OR REPLACE {_before("FUNCTION usage_close_uses", r"END [$][$];")}
DROP FUNCTION usage_spent_of(text, varchar[], text, bigint, bigint, bigint);
DROP TRIGGER budgets_facts ON budgets;
CREATE {_before("TRIGGER budgets_facts", r"core_refuse_change[(][)];")}
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0009_semantic_entries"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="budget",
            name="budgets_one_of_the_operator",
        ),
        migrations.AddField(
            model_name="budget",
            name="end_user_id",
            field=models.CharField(
                blank=True,
                help_text="The end user who limits their own spending with it.",
                max_length=40,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="successors",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40),
                blank=True,
                default=list,
                help_text=(
                    "Of a credential: those that rotations put in its place, oldest first; their calls count too."
                ),
                size=None,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("end_user_id__isnull", False)),
                fields=("scope", "scope_id", "period", "end_user_id"),
                name="budgets_one_per_end_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("developer_id", None), ("end_user_id", None)),
                fields=("scope", "scope_id", "period"),
                name="budgets_one_of_the_operator",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("end_user_id", None),
                    models.Q(("developer_id", None), ("thresholds", [])),
                    _connector="OR",
                ),
                name="budgets_one_owner",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("successors", []), ("scope", "credential"), _connector="OR"),
                name="budgets_successors",
            ),
        ),
        migrations.RunSQL(HERE.with_suffix(".sql").read_text(), BACK),
    ]
