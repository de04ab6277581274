-- A bridge and an endpoint belong to one app's end user, an endpoint's bridge to the endpoint's end user: otherwise one
-- wrong id would show a user's machine to another. Django's own foreign keys cannot say so.
ALTER TABLE bridges
    ADD CONSTRAINT bridges_end_user_of_app
        FOREIGN KEY (app_id, end_user_id) REFERENCES end_users (app_id, id);
ALTER TABLE local_endpoints
    ADD CONSTRAINT local_endpoints_end_user_of_app
        FOREIGN KEY (app_id, end_user_id) REFERENCES end_users (app_id, id),
    ADD CONSTRAINT local_endpoints_bridge_of_end_user
        FOREIGN KEY (end_user_id, bridge_id) REFERENCES bridges (end_user_id, id);
