-- What a call reserved and spent is a fact; a use is closed once. A period's row is made by its first call.
CREATE TRIGGER budget_uses_facts
    BEFORE UPDATE OF id, request_id, budget_id, period_id, reserved_nano, created_at OR DELETE ON budget_uses
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER budget_uses_closed_once
    BEFORE UPDATE ON budget_uses
    FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER budget_periods_facts
    BEFORE UPDATE OF id, budget_id, period_start, carried_nano OR DELETE ON budget_periods
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER budgets_facts
    BEFORE UPDATE OF id, developer_id, scope, scope_id, period, created_at, created_by OR DELETE ON budgets
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER alerts_facts
    BEFORE UPDATE OF id, kind, developer_id, budget_id, scope, scope_id, period_start, threshold, limit_nano, spent_nano,
        created_at
    OR DELETE ON alerts
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
-- Changes with every call of its scope: room in the page keeps those updates off the indexes.
ALTER TABLE budget_periods SET (fillfactor = 50);

CREATE FUNCTION usage_period_start(period text, at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    AS $$ SELECT date_trunc(period, at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' $$;

-- `steps` periods on (or back) from the start of one; by the calendar of UTC, whatever the session's time zone.
CREATE FUNCTION usage_period_step(period text, start timestamptz, steps integer) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT (start AT TIME ZONE 'UTC' + steps * ('1 ' || period)::interval) AT TIME ZONE 'UTC' $$;

-- What a period that begins at `start` gets of the one before. What a call under way keeps of that counts as used: it
-- may still be spent. A period without a row had no call.
CREATE FUNCTION usage_carried_over(budget text, start timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN NOT b.rollover OR b.created_at >= start THEN 0
        WHEN last.id IS NULL THEN b.amount_nano
        ELSE least(b.amount_nano, greatest(last.limit_nano - last.spent_nano - last.reserved_nano, 0))
    END
    FROM budgets b
    LEFT JOIN budget_periods last
        ON last.budget_id = b.id AND last.period_start = usage_period_step(b.period, start, -1)
    WHERE b.id = budget
$$;

-- The rows of the present period, for budgets that have none yet.
CREATE FUNCTION usage_open_periods(budget_ids text[]) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    missing text[];
BEGIN
    -- Nearly always there is nothing to do, and this is all that is done.
    SELECT array_agg(b.id) INTO missing FROM budgets b
    WHERE b.id = ANY (budget_ids) AND b.enabled AND NOT EXISTS (
        SELECT FROM budget_periods p WHERE p.budget_id = b.id AND p.period_start = usage_period_start(b.period, now())
    );
    IF missing IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO budget_periods (budget_id, period_start, limit_nano, carried_nano)
    SELECT b.id, this.start, b.amount_nano + carried.nano, carried.nano
    FROM budgets b
    CROSS JOIN LATERAL (SELECT usage_period_start(b.period, now()) AS start) this
    CROSS JOIN LATERAL (SELECT usage_carried_over(b.id, this.start) AS nano) carried
    WHERE b.id = ANY (missing)
    ORDER BY b.id
    ON CONFLICT DO NOTHING;
END $$;

-- What a call came to for a budget: of a credential what its provider bills, of others what the payer is charged.
CREATE FUNCTION usage_spent_of(
    scope text, scope_id text, credential_id text, price_nano bigint, cost_nano bigint, provider_bill_nano bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN scope <> 'credential' THEN price_nano
                WHEN credential_id = scope_id THEN cost_nano + provider_bill_nano
                ELSE 0 END
$$;

-- Calls that are over: what they reserved becomes what their events say, or is free again without an event. Changes
-- nothing for a call that is closed. Locks: wallets (by whoever calls this), then periods in the order of their ids.
CREATE FUNCTION usage_close_uses(request_ids text[]) RETURNS bigint
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
            b.scope, b.scope_id, e.credential_id, e.price_nano, e.cost_nano, e.provider_bill_nano), 0) AS spent
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
        SELECT b.developer_id, b.id, b.scope, b.scope_id, c.period_start, t.threshold, c.limit_nano, c.spent_nano,
               now(), now()
        FROM changed c JOIN budgets b ON b.id = c.budget_id
        CROSS JOIN LATERAL unnest(b.thresholds) AS t (threshold)
        WHERE c.spent_nano::numeric * 100 >= c.limit_nano::numeric * t.threshold
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO closed_uses FROM closed;
    RETURN closed_uses;
END $$;

-- As in 0005, and what the calls reserved of budgets is closed with their holds.
CREATE OR REPLACE FUNCTION usage_meter(request_ids text[]) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    ids text[];
    prices bigint[];
    shrunk bigint;
BEGIN
    SELECT array_agg(e.request_id), array_agg(e.price_nano) INTO ids, prices
    FROM usage_events e WHERE e.request_id = ANY (request_ids);
    SELECT count(*) INTO shrunk FROM ledger_meter_holds(ids, prices) WHERE outcome IN ('metered', 'voided');
    PERFORM usage_close_uses(ids);
    RETURN shrunk;
END $$;

-- Shrink the holds of `metered`, then decide `batch`: its holds, and with each what it reserves of budgets, all of it
-- or nothing. A hard budget that does not cover an item refuses it ('budget', with the budgets in `refused`); where
-- the item takes less than its amount and the budget is of prices, it gets what is left, as from a wallet. `cost` is
-- what a credential may be billed; budgets of prices reserve what the hold keeps.
-- Locks: wallets and holds, then budget periods, each in the order of their ids and all before anything changes.
CREATE FUNCTION usage_admit(batch json, metered text[])
RETURNS TABLE (request_id text, granted bigint, available bigint, outcome text, refused json)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    ids text[];
    accounts bigint[];
    amounts bigint[];
    minima bigint[];
    expires timestamptz[];
    memos jsonb[];
    wishes json[];
    wanted text[];
    -- Of the budgets that apply, place by place.
    known text[];
    periods bigint[];
    rooms bigint[];
    hards boolean[];
    by_cost boolean[];
    item record;
    place integer;
    wish bigint;
    short text[];
    refused_ids text[] := '{}';
    reasons jsonb := '{}';
    kept boolean[];
    given_ids text[];
    given bigint[];
    rest_of bigint[];
    outcomes text[];
    freed boolean;
BEGIN
    SELECT array_agg(h.request_id), array_agg(h.account_id), array_agg(h.amount), array_agg(h.minimum),
           array_agg(now() + make_interval(secs => h.lease)), array_agg(h.memo), array_agg(h.budgets)
    INTO ids, accounts, amounts, minima, expires, memos, wishes
    FROM json_to_recordset(batch) AS h (
        request_id text, account_id bigint, amount bigint, minimum bigint, lease double precision, memo jsonb,
        budgets json
    );
    SELECT array_agg(DISTINCT w.budget_id) INTO wanted
    FROM unnest(wishes) AS i (wish), json_to_recordset(i.wish) AS w (budget_id text);

    IF cardinality(metered) > 0 OR wanted IS NOT NULL THEN
        PERFORM ledger_lock_holds(metered, coalesce(accounts, '{}'));
    END IF;
    IF wanted IS NOT NULL THEN
        PERFORM usage_open_periods(wanted);
        PERFORM FROM budget_periods p WHERE p.id = ANY (ARRAY(
            SELECT u.period_id FROM budget_uses u WHERE u.request_id = ANY (metered) AND u.closed_at IS NULL
            UNION
            SELECT c.id FROM budgets b JOIN budget_periods c
                ON c.budget_id = b.id AND c.period_start = usage_period_start(b.period, now())
            WHERE b.id = ANY (wanted)
        )) ORDER BY p.id FOR UPDATE;
    END IF;
    IF cardinality(metered) > 0 THEN
        PERFORM usage_meter(metered);
    END IF;
    IF ids IS NULL THEN
        RETURN;
    ELSIF wanted IS NULL THEN
        RETURN QUERY SELECT t.request_id, t.granted, t.available, t.outcome, NULL::json
            FROM ledger_take_holds(ids, accounts, amounts, minima, expires, memos) AS t;
        RETURN;
    END IF;

    SELECT array_agg(b.id ORDER BY b.id), array_agg(p.id ORDER BY b.id),
           array_agg(p.limit_nano - p.spent_nano - p.reserved_nano ORDER BY b.id), array_agg(b.hard ORDER BY b.id),
           array_agg(b.scope = 'credential' ORDER BY b.id)
    INTO known, periods, rooms, hards, by_cost
    FROM budgets b
    JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = usage_period_start(b.period, now())
    WHERE b.id = ANY (wanted) AND b.enabled;

    FOR item IN
        SELECT i.ord, i.id, i.minimum, i.amount,
               array_agg(array_position(known, w.budget_id)) AS places, array_agg(w.cost) AS costs
        FROM unnest(ids, amounts, minima, wishes) WITH ORDINALITY AS i (id, amount, minimum, wish, ord)
        CROSS JOIN LATERAL json_to_recordset(i.wish) AS w (budget_id text, cost bigint)
        WHERE w.budget_id = ANY (known)
          -- One that has its hold, taken by a batch whose acknowledgement was lost, has reserved already.
          AND NOT EXISTS (SELECT FROM holds h WHERE h.request_id = i.id)
        GROUP BY i.ord, i.id, i.minimum, i.amount ORDER BY i.ord
    LOOP
        wish := item.amount;
        short := '{}';
        FOR n IN 1 .. cardinality(item.places) LOOP
            place := item.places[n];
            IF NOT hards[place] THEN
                CONTINUE;
            ELSIF by_cost[place] THEN
                IF coalesce(item.costs[n], 0) > greatest(rooms[place], 0) THEN
                    short := short || known[place];
                END IF;
            ELSIF wish > greatest(rooms[place], 0) THEN
                IF item.minimum < item.amount AND rooms[place] > 0 AND rooms[place] >= item.minimum THEN
                    wish := rooms[place];
                ELSE
                    short := short || known[place];
                END IF;
            END IF;
        END LOOP;
        IF cardinality(short) > 0 THEN
            refused_ids := refused_ids || item.id;
            reasons := reasons || jsonb_build_object(item.id, to_jsonb(short));
        ELSE
            amounts[item.ord] := wish;
            FOR n IN 1 .. cardinality(item.places) LOOP
                place := item.places[n];
                rooms[place] := rooms[place]
                    - CASE WHEN by_cost[place] THEN coalesce(item.costs[n], 0) ELSE wish END;
            END LOOP;
        END IF;
    END LOOP;

    SELECT array_agg(t.request_id), array_agg(t.granted), array_agg(t.available), array_agg(t.outcome),
           bool_or(i.wish IS NOT NULL AND (t.outcome <> 'granted' OR t.granted < i.amount))
    INTO given_ids, given, rest_of, outcomes, freed
    FROM ledger_take_holds(
        ARRAY(SELECT i.id FROM unnest(ids) WITH ORDINALITY AS i (id, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord),
        ARRAY(SELECT i.v FROM unnest(ids, accounts) WITH ORDINALITY AS i (id, v, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord),
        ARRAY(SELECT i.v FROM unnest(ids, amounts) WITH ORDINALITY AS i (id, v, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord),
        ARRAY(SELECT least(i.v, i.amount) FROM unnest(ids, minima, amounts) WITH ORDINALITY AS i (id, v, amount, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord),
        ARRAY(SELECT i.v FROM unnest(ids, expires) WITH ORDINALITY AS i (id, v, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord),
        ARRAY(SELECT i.v FROM unnest(ids, memos) WITH ORDINALITY AS i (id, v, ord)
              WHERE i.id <> ALL (refused_ids) ORDER BY i.ord)
    ) AS t JOIN unnest(ids, amounts, wishes) AS i (id, amount, wish) ON i.id = t.request_id;

    WITH uses AS (
        INSERT INTO budget_uses (request_id, budget_id, period_id, reserved_nano, created_at)
        SELECT g.id, w.budget_id, periods[array_position(known, w.budget_id)],
               CASE WHEN by_cost[array_position(known, w.budget_id)] THEN coalesce(w.cost, 0) ELSE g.granted END, now()
        FROM unnest(given_ids, given, outcomes) AS g (id, granted, outcome)
        JOIN unnest(ids, wishes) AS i (id, wish) ON i.id = g.id
        CROSS JOIN LATERAL json_to_recordset(i.wish) AS w (budget_id text, cost bigint)
        WHERE g.outcome = 'granted' AND w.budget_id = ANY (known)
        RETURNING period_id, reserved_nano
    )
    UPDATE budget_periods p SET reserved_nano = p.reserved_nano + u.reserved
    FROM (SELECT period_id, sum(reserved_nano)::bigint AS reserved FROM uses GROUP BY period_id) u
    WHERE p.id = u.period_id AND u.reserved > 0;

    RETURN QUERY SELECT g.id, g.granted, g.available, g.outcome, NULL::json
        FROM unnest(given_ids, given, rest_of, outcomes) AS g (id, granted, available, outcome);
    IF refused_ids = '{}' THEN
        RETURN;
    ELSIF freed THEN
        -- What was set aside for an item that its wallet then refused may cover one that came after it.
        RETURN QUERY SELECT * FROM usage_admit(
            (SELECT json_agg(b) FROM json_array_elements(batch) AS b WHERE b ->> 'request_id' = ANY (refused_ids)), NULL
        );
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.id, 0::bigint, coalesce(w.posted - w.held + w.overdraft, 0), 'budget', (
        SELECT json_agg(json_build_object(
            'budget_id', b.id, 'scope', b.scope, 'scope_id', b.scope_id, 'period', b.period, 'limit', p.limit_nano,
            'remaining', greatest(p.limit_nano - p.spent_nano - p.reserved_nano, 0),
            'ends_in', extract(epoch FROM usage_period_step(b.period, p.period_start, 1) - now())
        ) ORDER BY b.id)
        FROM budgets b JOIN budget_periods p ON p.budget_id = b.id AND p.id = ANY (periods)
        WHERE reasons -> r.id ? b.id
    )
    FROM unnest(refused_ids) AS r (id)
    JOIN unnest(ids, accounts) AS i (id, account) ON i.id = r.id
    LEFT JOIN wallets w ON w.account_id = i.account;
END $$;
