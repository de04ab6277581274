ALTER TABLE virtual_keys
    DROP CONSTRAINT virtual_keys_app_of_developer,
    DROP CONSTRAINT virtual_keys_feature_of_app;
ALTER TABLE virtual_sessions
    DROP CONSTRAINT virtual_sessions_end_user_of_app,
    DROP CONSTRAINT virtual_sessions_feature_of_app;
