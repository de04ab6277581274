from django.db import migrations

# What end users and developers do with keys of their own, as often as they like, must not make every gateway load
# everything again: it is forgotten for them alone. OLD and NEW have the same owner, which never changes.
CHANGES = "UPDATE OF status, secret, base_url, models_allowed, apps_allowed, features_allowed, weight, priority"
SHARED = "NEW.owner_class IN ('platform', 'operator')"
FUNCTIONS = """
CREATE FUNCTION vault_forget_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO forgotten_callers (kind, subject_id) VALUES (NEW.owner_class, NEW.owner_id);
    RETURN NULL;
END $$;
CREATE FUNCTION vault_forget_end_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO forgotten_callers (kind, subject_id) VALUES ('end_user', NEW.end_user_id);
    RETURN NULL;
END $$;
"""
TRIGGERS = f"""
DROP TRIGGER provider_credentials_policy_epoch ON provider_credentials;
CREATE TRIGGER provider_credentials_policy_epoch AFTER INSERT OR {CHANGES} ON provider_credentials
    FOR EACH ROW WHEN ({SHARED}) EXECUTE FUNCTION core_bump_policy_epoch();
CREATE TRIGGER provider_credentials_forget_owner AFTER INSERT OR {CHANGES} ON provider_credentials
    FOR EACH ROW WHEN (NOT ({SHARED})) EXECUTE FUNCTION vault_forget_owner();
CREATE TRIGGER provider_credentials_delete_epoch AFTER DELETE ON provider_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION core_bump_policy_epoch();
CREATE TRIGGER fee_consents_forget_end_user AFTER INSERT ON fee_consents
    FOR EACH ROW EXECUTE FUNCTION vault_forget_end_user();
"""
REVERSE = f"""
DROP TRIGGER fee_consents_forget_end_user ON fee_consents;
DROP TRIGGER provider_credentials_delete_epoch ON provider_credentials;
DROP TRIGGER provider_credentials_forget_owner ON provider_credentials;
DROP TRIGGER provider_credentials_policy_epoch ON provider_credentials;
CREATE TRIGGER provider_credentials_policy_epoch AFTER INSERT OR DELETE OR {CHANGES} ON provider_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION core_bump_policy_epoch();
DROP FUNCTION vault_forget_end_user();
DROP FUNCTION vault_forget_owner();
"""


class Migration(migrations.Migration):
    dependencies = [("vault", "0005_fee_consents"), ("core", "0002_forgotten_callers")]

    operations = [migrations.RunSQL(FUNCTIONS + TRIGGERS, REVERSE)]
