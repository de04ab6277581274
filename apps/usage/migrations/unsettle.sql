DROP TRIGGER usage_charges_append_only ON usage_charges;
DROP TRIGGER usage_events_rated_once ON usage_events;
DROP TRIGGER usage_events_facts ON usage_events;
DROP FUNCTION usage_settle(json, json);
