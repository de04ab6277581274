from django.db import migrations, models
from django.db.models.functions import Cast, Now

FUNCTION = """
CREATE FUNCTION core_forget_caller() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- TG_ARGV: the kind of caller, and the column that holds its id.
    INSERT INTO forgotten_callers (kind, subject_id) VALUES (TG_ARGV[0], to_jsonb(OLD) ->> TG_ARGV[1]);
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_policy_epoch")]

    operations = [
        migrations.CreateModel(
            name="ForgottenCaller",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=20)),
                ("subject_id", models.CharField(max_length=40)),
                (
                    "transaction_id",
                    models.BigIntegerField(
                        db_default=Cast(
                            Cast(models.Func(function="pg_current_xact_id"), models.TextField()),
                            models.BigIntegerField(),
                        )
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "forgotten_callers"},
        ),
        migrations.AddIndex(
            model_name="forgottencaller",
            index=models.Index(fields=["transaction_id"], name="forgotten_callers_transaction"),
        ),
        migrations.AddIndex(
            model_name="forgottencaller",
            index=models.Index(fields=["created_at"], name="forgotten_callers_created_at"),
        ),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION core_forget_caller()"),
    ]
