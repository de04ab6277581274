ALTER TABLE local_endpoints
    DROP CONSTRAINT local_endpoints_bridge_of_end_user,
    DROP CONSTRAINT local_endpoints_end_user_of_app;
ALTER TABLE bridges
    DROP CONSTRAINT bridges_end_user_of_app;
