-- Whose and for what a budget is stays; only rotations add to what it is for.
DROP TRIGGER budgets_facts ON budgets;
CREATE TRIGGER budgets_facts
    BEFORE UPDATE OF id, developer_id, end_user_id, scope, scope_id, period, created_at, created_by OR DELETE ON budgets
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();

-- As in 0006, for a credential with those that took its place.
CREATE FUNCTION usage_spent_of(
    scope text, scope_ids varchar[], credential_id text, price_nano bigint, cost_nano bigint, provider_bill_nano bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN scope <> 'credential' THEN price_nano
                WHEN credential_id = ANY (scope_ids) THEN cost_nano + provider_bill_nano
                ELSE 0 END
$$;

-- As in 0006, with the function above; an alert names the credential that is in use.
CREATE OR REPLACE FUNCTION usage_close_uses(request_ids text[]) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    touched bigint[];
    closed_uses bigint;
BEGIN
    SELECT array_agg(u.period_id) INTO touched FROM budget_uses u
        WHERE u.request_id = ANY (request_ids) AND u.closed_at IS NULL;
    IF touched IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM FROM budget_periods p WHERE p.id = ANY (touched) ORDER BY p.id FOR UPDATE;
    WITH due AS MATERIALIZED (
        SELECT u.id, coalesce(usage_spent_of(
            b.scope, b.successors || b.scope_id, e.credential_id, e.price_nano, e.cost_nano, e.provider_bill_nano), 0
        ) AS spent
        FROM budget_uses u JOIN budgets b ON b.id = u.budget_id
        LEFT JOIN usage_events e ON e.request_id = u.request_id
        WHERE u.request_id = ANY (request_ids) AND u.closed_at IS NULL
    ), closed AS (
        UPDATE budget_uses u SET
            spent_nano = d.spent,
            state = CASE WHEN d.spent > 0 THEN 'spent' ELSE 'released' END,
            closed_at = now()
        FROM due d WHERE u.id = d.id
        RETURNING u.period_id, u.reserved_nano, u.spent_nano
    ), changed AS (
        UPDATE budget_periods p SET
            reserved_nano = p.reserved_nano - c.reserved,
            spent_nano = p.spent_nano + c.spent
        FROM (
            SELECT period_id, sum(reserved_nano)::bigint AS reserved, sum(spent_nano)::bigint AS spent
            FROM closed GROUP BY period_id
        ) c WHERE p.id = c.period_id
        RETURNING p.budget_id, p.period_start, p.limit_nano, p.spent_nano
    ), told AS (
        INSERT INTO alerts (developer_id, budget_id, scope, scope_id, period_start, threshold, limit_nano, spent_nano,
                            created_at, next_attempt_at)
        SELECT b.developer_id, b.id, b.scope, coalesce(b.successors[cardinality(b.successors)], b.scope_id),
               c.period_start, t.threshold, c.limit_nano, c.spent_nano, now(), now()
        FROM changed c JOIN budgets b ON b.id = c.budget_id
        CROSS JOIN LATERAL unnest(b.thresholds) AS t (threshold)
        WHERE c.spent_nano::numeric * 100 >= c.limit_nano::numeric * t.threshold
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO closed_uses FROM closed;
    RETURN closed_uses;
END $$;

DROP FUNCTION usage_spent_of(text, text, text, bigint, bigint, bigint);
