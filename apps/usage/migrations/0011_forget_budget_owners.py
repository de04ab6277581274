from django.db import migrations

# What end users let themselves spend, changed as often as they like, must not make every gateway load everything again:
# it is forgotten for them alone. The owner of a budget never changes.
FORWARD = """
CREATE FUNCTION usage_forget_budget_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO forgotten_callers (kind, subject_id) VALUES ('end_user', NEW.end_user_id);
    RETURN NULL;
END $$;
DROP TRIGGER budgets_policy_epoch ON budgets;
CREATE TRIGGER budgets_policy_epoch AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN (NEW.end_user_id IS NULL) EXECUTE FUNCTION core_bump_policy_epoch();
CREATE TRIGGER budgets_forget_owner AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN (NEW.end_user_id IS NOT NULL) EXECUTE FUNCTION usage_forget_budget_owner();
CREATE TRIGGER budgets_delete_epoch AFTER DELETE ON budgets
    FOR EACH STATEMENT EXECUTE FUNCTION core_bump_policy_epoch();
"""
BACK = """
DROP TRIGGER budgets_delete_epoch ON budgets;
DROP TRIGGER budgets_forget_owner ON budgets;
DROP TRIGGER budgets_policy_epoch ON budgets;
CREATE TRIGGER budgets_policy_epoch AFTER INSERT OR UPDATE OR DELETE ON budgets
    FOR EACH STATEMENT EXECUTE FUNCTION core_bump_policy_epoch();
DROP FUNCTION usage_forget_budget_owner();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0010_budget_owners"),
        ("core", "0002_forgotten_callers"),
    ]

    operations = [migrations.RunSQL(FORWARD, BACK)]
