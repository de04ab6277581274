from django.db import migrations, models

FUNCTIONS = """
CREATE FUNCTION core_bump_policy_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A row, not a sequence: the new number must become visible together with the change itself.
    UPDATE policy_epoch SET number = number + 1 WHERE id = 1;
    RETURN NULL;
END $$;

CREATE FUNCTION core_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = '23514';
END $$;

INSERT INTO policy_epoch (id, number) VALUES (1, 1);
"""

DROP = """
DROP FUNCTION core_refuse_change();
DROP FUNCTION core_bump_policy_epoch();
"""


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.CreateModel(
            name="PolicyEpoch",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(default=0)),
            ],
            options={"db_table": "policy_epoch"},
        ),
        migrations.AddConstraint(
            model_name="policyepoch",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="policy_epoch_one_row"),
        ),
        migrations.RunSQL(FUNCTIONS, DROP),
    ]
