from django.db import migrations

# However a key is rotated or erased, its budgets go with it, in that transaction: by whichever door it comes, and
# without the vault knowing of budgets. Periods go on, so what was spent with the old key still counts.
FORWARD = """
CREATE FUNCTION usage_follow_rotation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budgets SET successors = successors || NEW.id, changed_at = NEW.created_at, changed_by = 'rotation'
    WHERE scope = 'credential'
      AND coalesce(successors[cardinality(successors)], scope_id) = NEW.replaces_id;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_credentials_budgets_follow AFTER INSERT ON provider_credentials
    FOR EACH ROW WHEN (NEW.replaces_id IS NOT NULL) EXECUTE FUNCTION usage_follow_rotation();

CREATE FUNCTION usage_end_with_credential() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budgets SET enabled = false, changed_at = clock_timestamp(), changed_by = 'deletion'
    WHERE scope = 'credential' AND enabled
      AND coalesce(successors[cardinality(successors)], scope_id) = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_credentials_budgets_end AFTER UPDATE OF status ON provider_credentials
    FOR EACH ROW WHEN (NEW.status = 'deleted' AND OLD.status <> 'deleted')
    EXECUTE FUNCTION usage_end_with_credential();
"""
BACK = """
DROP TRIGGER provider_credentials_budgets_end ON provider_credentials;
DROP FUNCTION usage_end_with_credential();
DROP TRIGGER provider_credentials_budgets_follow ON provider_credentials;
DROP FUNCTION usage_follow_rotation();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0011_forget_budget_owners"),
        ("vault", "0007_credential_health"),
    ]

    operations = [migrations.RunSQL(FORWARD, BACK)]
