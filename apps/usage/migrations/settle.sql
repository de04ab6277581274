-- Store a batch of usage events and shrink their holds to the actual price, in one statement and so in one
-- transaction. An event that is already there is not stored again: a retry after a lost acknowledgement is
-- answered 'recorded', an event that the sweeper wrote for a request it took for dead is answered 'abandoned'.
CREATE FUNCTION usage_settle(batch json, outcomes json)
RETURNS TABLE (request_id text, outcome text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    fresh_ids text[];
    fresh_prices bigint[];
BEGIN
    WITH fresh AS (
        INSERT INTO usage_events (
            request_id, app_id, developer_id, end_user_id, feature_key, principal_id, account_id, endpoint,
            stream, route_mode, provider, credential_id, requested_model, served_model, outcome, charged,
            finish_reason, error_code, status, input_tokens, cache_read_tokens, cache_write_tokens,
            output_tokens, reasoning_tokens, estimated, output_cap, price_version_id, terms_id, infra_nano,
            payment_bps, price_nano, cost_nano, attempts, started_at, first_byte_ms, duration_ms, effective_at,
            created_at
        )
        SELECT
            e.request_id, e.app_id, e.developer_id, e.end_user_id, e.feature_key, e.principal_id, e.account_id,
            e.endpoint, e.stream, e.route_mode, e.provider, e.credential_id, e.requested_model, e.served_model,
            e.outcome, e.charged, e.finish_reason, e.error_code, e.status, e.input_tokens, e.cache_read_tokens,
            e.cache_write_tokens, e.output_tokens, e.reasoning_tokens, e.estimated, e.output_cap,
            e.price_version_id, e.terms_id, e.infra_nano, e.payment_bps, e.price_nano, e.cost_nano, e.attempts,
            to_timestamp(e.started_at), e.first_byte_ms, e.duration_ms, to_timestamp(e.effective_at), clock_timestamp()
        FROM json_to_recordset(batch) AS e (
            request_id text, app_id text, developer_id text, end_user_id text, feature_key text,
            principal_id text, account_id bigint, endpoint text, stream boolean, route_mode text, provider text,
            credential_id text, requested_model text, served_model text, outcome text, charged boolean,
            finish_reason text, error_code text, status smallint, input_tokens bigint, cache_read_tokens bigint,
            cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, estimated boolean,
            output_cap bigint, price_version_id text, terms_id bigint, infra_nano bigint, payment_bps integer,
            price_nano bigint, cost_nano bigint, attempts jsonb, started_at double precision, first_byte_ms integer,
            duration_ms integer, effective_at double precision
        )
        ON CONFLICT (request_id) DO NOTHING
        RETURNING request_id, price_nano
    )
    SELECT array_agg(fresh.request_id), array_agg(fresh.price_nano) INTO fresh_ids, fresh_prices FROM fresh;

    IF fresh_ids IS NOT NULL THEN
        -- A hold that is gone (expired, or lost with the last milliseconds of a crash) only leaves the
        -- authorisation unused: the event is stored and will be rated all the same.
        PERFORM ledger_meter_holds(fresh_ids, fresh_prices);
    END IF;

    IF outcomes IS NOT NULL THEN
        UPDATE idempotency_records AS r
        SET done_at = clock_timestamp(), status = o.status, headers = o.headers,
            body = decode(o.body, 'base64')
        FROM json_to_recordset(outcomes) AS o (request_id text, status smallint, headers jsonb, body text)
        -- What the sweeper took for dead was answered with an error: there is no answer to keep.
        WHERE r.request_id = o.request_id AND r.done_at IS NULL AND o.request_id = ANY (coalesce(fresh_ids, '{}'));
    END IF;

    RETURN QUERY
    SELECT e.request_id::text,
           CASE WHEN e.outcome = 'abandoned' AND NOT (e.request_id = ANY (coalesce(fresh_ids, '{}')))
                THEN 'abandoned' ELSE 'recorded' END
    FROM usage_events e
    WHERE e.request_id IN (SELECT b ->> 'request_id' FROM json_array_elements(batch) AS b);
END $$;

-- An event is a fact: only rating marks it, and only once. By column, so that marking costs no comparison.
CREATE TRIGGER usage_events_facts
    BEFORE UPDATE OF id, request_id, app_id, developer_id, end_user_id, feature_key, principal_id, account_id, endpoint,
        stream, route_mode, provider, credential_id, requested_model, served_model, outcome, charged,
        finish_reason, error_code, status, input_tokens, cache_read_tokens, cache_write_tokens,
        output_tokens, reasoning_tokens, estimated, output_cap, price_version_id, terms_id, infra_nano,
        payment_bps, price_nano, cost_nano, attempts, started_at, first_byte_ms, duration_ms, effective_at,
        created_at
    OR DELETE ON usage_events
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER usage_events_rated_once
    BEFORE UPDATE OF rated_at ON usage_events
    FOR EACH ROW WHEN (OLD.rated_at IS NOT NULL) EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER usage_charges_append_only
    BEFORE UPDATE OR DELETE ON usage_charges
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
