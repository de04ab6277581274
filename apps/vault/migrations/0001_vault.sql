-- Plain text cannot be put into the columns of secrets, whoever writes.
ALTER TABLE provider_credentials
    ADD CONSTRAINT provider_credentials_sealed CHECK (secret ~ '^mfv1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$');
ALTER TABLE app_secrets
    ADD CONSTRAINT app_secrets_sealed CHECK (secret ~ '^mfv1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$');
