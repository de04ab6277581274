from django.db import migrations

SEALED = r"secret ~ '^mfv1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$'"
ERASED = f"CASE WHEN status = 'deleted' THEN secret = 'erased' ELSE {SEALED} END"


def _constraint(condition: str) -> str:
    return (
        "ALTER TABLE provider_credentials DROP CONSTRAINT provider_credentials_sealed, "
        f"ADD CONSTRAINT provider_credentials_sealed CHECK ({condition})"
    )


class Migration(migrations.Migration):
    """A deleted credential holds no secret, and no other does without."""

    dependencies = [("vault", "0003_credential_validation")]

    operations = [migrations.RunSQL(_constraint(ERASED), _constraint(SEALED))]
