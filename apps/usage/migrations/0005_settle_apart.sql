-- Store a batch of usage events: the step that the client waits for. It locks no wallet, because this transaction
-- ends only when the disk has it, and all calls of one wallet would queue behind that. An event that is already
-- there is not stored again: a retry after a lost acknowledgement is answered 'recorded', an event that the sweeper
-- wrote for a request it took for dead is answered 'abandoned'.
CREATE OR REPLACE FUNCTION usage_settle(batch json, outcomes json)
RETURNS TABLE (request_id text, outcome text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    fresh_ids text[];
BEGIN
    WITH fresh AS (
        INSERT INTO usage_events (
            request_id, app_id, developer_id, end_user_id, feature_key, principal_id, account_id, endpoint,
            stream, route_mode, provider, credential_id, requested_model, served_model, outcome, charged,
            finish_reason, error_code, status, input_tokens, cache_read_tokens, cache_write_tokens,
            output_tokens, reasoning_tokens, estimated, output_cap, price_version_id, terms_id, infra_nano,
            payment_bps, price_nano, cost_nano, provider_bill_nano, attempts, policy, task_class, routing, degraded,
            cache, redactions, prompt_hash, manifest_id, started_at, first_byte_ms, duration_ms, effective_at,
            created_at
        )
        SELECT
            e.request_id, e.app_id, e.developer_id, e.end_user_id, e.feature_key, e.principal_id, e.account_id,
            e.endpoint, e.stream, e.route_mode, e.provider, e.credential_id, e.requested_model, e.served_model,
            e.outcome, e.charged, e.finish_reason, e.error_code, e.status, e.input_tokens, e.cache_read_tokens,
            e.cache_write_tokens, e.output_tokens, e.reasoning_tokens, e.estimated, e.output_cap,
            e.price_version_id, e.terms_id, e.infra_nano, e.payment_bps, e.price_nano, e.cost_nano,
            -- What is at its default is not sent.
            coalesce(e.provider_bill_nano, 0), e.attempts, e.policy, e.task_class, e.routing,
            coalesce(e.degraded, false), e.cache, coalesce(e.redactions, 0), e.prompt_hash, e.manifest_id,
            to_timestamp(e.started_at), e.first_byte_ms, e.duration_ms, to_timestamp(e.effective_at), clock_timestamp()
        FROM json_to_recordset(batch) AS e (
            request_id text, app_id text, developer_id text, end_user_id text, feature_key text,
            principal_id text, account_id bigint, endpoint text, stream boolean, route_mode text, provider text,
            credential_id text, requested_model text, served_model text, outcome text, charged boolean,
            finish_reason text, error_code text, status smallint, input_tokens bigint, cache_read_tokens bigint,
            cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, estimated boolean,
            output_cap bigint, price_version_id text, terms_id bigint, infra_nano bigint, payment_bps integer,
            price_nano bigint, cost_nano bigint, provider_bill_nano bigint, attempts jsonb, policy text,
            task_class text, routing jsonb, degraded boolean, cache text, redactions integer, prompt_hash text,
            manifest_id text, started_at double precision, first_byte_ms integer, duration_ms integer,
            effective_at double precision
        )
        ON CONFLICT (request_id) DO NOTHING
        RETURNING request_id
    )
    SELECT array_agg(fresh.request_id) INTO fresh_ids FROM fresh;

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

-- Shrink the holds of calls whose events are stored to their price, in a transaction of its own that need not wait
-- for the disk: what is lost of it, or was never called, rating and the sweeper do. A hold that is gone (expired, or
-- lost with the last milliseconds of a crash) only leaves the authorisation unused: the event is rated all the same.
-- Returns how many holds it shrank.
CREATE FUNCTION usage_meter(request_ids text[]) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    ids text[];
    prices bigint[];
BEGIN
    SELECT array_agg(e.request_id), array_agg(e.price_nano) INTO ids, prices
    FROM usage_events e WHERE e.request_id = ANY (request_ids);
    RETURN (SELECT count(*) FROM ledger_meter_holds(ids, prices) WHERE outcome IN ('metered', 'voided'));
END $$;

-- An event is a fact: only rating marks it, and only once. By column, so that marking costs no comparison.
DROP TRIGGER usage_events_facts ON usage_events;
CREATE TRIGGER usage_events_facts
    BEFORE UPDATE OF id, request_id, app_id, developer_id, end_user_id, feature_key, principal_id, account_id, endpoint,
        stream, route_mode, provider, credential_id, requested_model, served_model, outcome, charged,
        finish_reason, error_code, status, input_tokens, cache_read_tokens, cache_write_tokens,
        output_tokens, reasoning_tokens, estimated, output_cap, price_version_id, terms_id, infra_nano,
        payment_bps, price_nano, cost_nano, provider_bill_nano, attempts, policy, task_class, routing, degraded,
        cache, redactions, prompt_hash, manifest_id, started_at, first_byte_ms, duration_ms, effective_at,
        created_at
    OR DELETE ON usage_events
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
