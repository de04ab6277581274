ALTER TABLE app_secrets DROP CONSTRAINT app_secrets_sealed;
ALTER TABLE provider_credentials DROP CONSTRAINT provider_credentials_sealed;
