from django.db import migrations

# What the operator lets each end user spend a day is a row a user: it is forgotten for that user alone, as what end
# users let themselves spend is. Whose and for whom a budget is never changes.
_OF_ONE = "NEW.end_user_id IS NOT NULL OR (NEW.developer_id IS NULL AND NEW.scope = 'end_user')"
FORWARD = f"""
CREATE OR REPLACE FUNCTION usage_forget_budget_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO forgotten_callers (kind, subject_id)
    VALUES ('end_user', coalesce(NEW.end_user_id, NEW.scope_id));
    RETURN NULL;
END $$;
DROP TRIGGER budgets_policy_epoch ON budgets;
DROP TRIGGER budgets_forget_owner ON budgets;
CREATE TRIGGER budgets_policy_epoch AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN (NOT ({_OF_ONE})) EXECUTE FUNCTION core_bump_policy_epoch();
CREATE TRIGGER budgets_forget_owner AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN ({_OF_ONE}) EXECUTE FUNCTION usage_forget_budget_owner();
"""
BACK = """
DROP TRIGGER budgets_forget_owner ON budgets;
DROP TRIGGER budgets_policy_epoch ON budgets;
CREATE TRIGGER budgets_policy_epoch AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN (NEW.end_user_id IS NULL) EXECUTE FUNCTION core_bump_policy_epoch();
CREATE TRIGGER budgets_forget_owner AFTER INSERT OR UPDATE ON budgets
    FOR EACH ROW WHEN (NEW.end_user_id IS NOT NULL) EXECUTE FUNCTION usage_forget_budget_owner();
CREATE OR REPLACE FUNCTION usage_forget_budget_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO forgotten_callers (kind, subject_id) VALUES ('end_user', NEW.end_user_id);
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0013_alerts_of_other_kinds")]

    operations = [migrations.RunSQL(FORWARD, BACK)]
