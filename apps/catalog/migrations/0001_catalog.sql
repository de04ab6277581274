-- The tiers of a price version are written before the version itself (its foreign key is deferred), so that a
-- version is complete from the moment it can be seen, and nothing can be added to it afterwards.

CREATE FUNCTION catalog_no_late_tier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM price_versions WHERE id = NEW.version_id) THEN
        RAISE EXCEPTION 'price version % exists: no tier can be added', NEW.version_id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER price_tiers_no_late_tier BEFORE INSERT ON price_tiers
    FOR EACH ROW EXECUTE FUNCTION catalog_no_late_tier();

CREATE FUNCTION catalog_price_version_complete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM price_tiers WHERE version_id = NEW.id AND from_tokens = 0) THEN
        RAISE EXCEPTION 'price version % has no tier that starts at 0 tokens', NEW.id USING ERRCODE = '23514';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER price_versions_complete AFTER INSERT ON price_versions
    FOR EACH ROW EXECUTE FUNCTION catalog_price_version_complete();
