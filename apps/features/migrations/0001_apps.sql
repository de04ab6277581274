-- A token's feature and end user belong to the token's app, a key's app to the key's developer: otherwise one
-- wrong id would let one app spend another's wallets. Django's own foreign keys cannot say so.
ALTER TABLE virtual_sessions
    ADD CONSTRAINT virtual_sessions_feature_of_app
        FOREIGN KEY (app_id, feature_id) REFERENCES app_features (app_id, id),
    ADD CONSTRAINT virtual_sessions_end_user_of_app
        FOREIGN KEY (app_id, end_user_id) REFERENCES end_users (app_id, id);
ALTER TABLE virtual_keys
    ADD CONSTRAINT virtual_keys_feature_of_app
        FOREIGN KEY (app_id, feature_id) REFERENCES app_features (app_id, id),
    ADD CONSTRAINT virtual_keys_app_of_developer
        FOREIGN KEY (developer_id, app_id) REFERENCES apps (developer_id, id);
