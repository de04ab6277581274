-- What every function that changes holds begins with: the wallets of the holds and of `more_accounts` in the order of
-- their accounts, then the holds in the order of their ids. Who locks further rows in the same transaction calls this
-- first, with all that it will touch.
CREATE FUNCTION ledger_lock_holds(request_ids text[], more_accounts bigint[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM wallets w WHERE w.account_id = ANY (more_accounts || ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (request_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
END $$;

-- The usage event is stored: the hold shrinks to the price and waits for rating; at price 0 it ends here.
CREATE OR REPLACE FUNCTION ledger_meter_holds(request_ids text[], prices bigint[])
RETURNS TABLE (request_id text, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock_holds(request_ids);
    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT DISTINCT ON (t.request_id) t.request_id, t.price, h.id, h.account_id, h.amount, h.state, h.stage
        FROM unnest(request_ids, prices) WITH ORDINALITY AS t (request_id, price, ord)
        LEFT JOIN holds h ON h.request_id = t.request_id
        ORDER BY t.request_id, t.ord
    ), changed AS (
        UPDATE holds h SET
            stage = 'metered',
            amount = least(i.amount, i.price),
            state = CASE WHEN i.price = 0 THEN 'voided' ELSE 'open' END,
            resolved_at = CASE WHEN i.price = 0 THEN now() END
        FROM item i WHERE h.id = i.id AND i.state = 'open' AND i.stage = 'dispatched'
        RETURNING h.id, h.account_id, i.amount - h.amount AS freed
    ), released AS (
        UPDATE wallets w SET held = w.held - f.freed
        FROM (SELECT account_id, sum(freed)::bigint AS freed FROM changed GROUP BY account_id) f
        WHERE w.account_id = f.account_id AND f.freed > 0
    )
    SELECT i.request_id, CASE
        WHEN i.id IS NULL THEN 'missing'
        WHEN i.state <> 'open' THEN 'resolved'
        WHEN i.stage = 'metered' THEN 'already'
        WHEN i.price = 0 THEN 'voided'
        ELSE 'metered'
    END FROM item i;
END $$;

-- Nothing was spent: give the hold back. A metered hold has a usage event and is left to rating.
CREATE OR REPLACE FUNCTION ledger_void_holds(request_ids text[])
RETURNS TABLE (request_id text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock_holds(request_ids);
    RETURN QUERY
    WITH changed AS (
        UPDATE holds h SET state = 'voided', resolved_at = now()
        WHERE h.request_id = ANY (request_ids) AND h.state = 'open' AND h.stage = 'dispatched'
        RETURNING h.request_id, h.account_id, h.amount
    ), released AS (
        UPDATE wallets w SET held = w.held - f.freed
        FROM (SELECT account_id, sum(amount)::bigint AS freed FROM changed GROUP BY account_id) f
        WHERE w.account_id = f.account_id AND f.freed > 0
    )
    SELECT c.request_id FROM changed c;
END $$;

-- The lease ran out and nobody metered it. Looked at again under the lock: a live request may have renewed.
CREATE OR REPLACE FUNCTION ledger_expire_holds(request_ids text[], at timestamptz)
RETURNS TABLE (request_id text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock_holds(request_ids);
    RETURN QUERY
    WITH changed AS (
        UPDATE holds h SET state = 'expired', resolved_at = at
        WHERE h.request_id = ANY (request_ids) AND h.state = 'open' AND h.stage = 'dispatched' AND h.expires_at <= at
        RETURNING h.request_id, h.account_id, h.amount
    ), released AS (
        UPDATE wallets w SET held = w.held - f.freed
        FROM (SELECT account_id, sum(amount)::bigint AS freed FROM changed GROUP BY account_id) f
        WHERE w.account_id = f.account_id AND f.freed > 0
    )
    SELECT c.request_id FROM changed c;
END $$;

-- The price is posted in this same database transaction: the hold has done its work, whatever it still keeps.
CREATE OR REPLACE FUNCTION ledger_capture_holds(request_ids text[], prices bigint[])
RETURNS TABLE (request_id text, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock_holds(request_ids);
    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT DISTINCT ON (t.request_id) t.request_id, t.price, h.id, h.state
        FROM unnest(request_ids, prices) WITH ORDINALITY AS t (request_id, price, ord)
        LEFT JOIN holds h ON h.request_id = t.request_id
        ORDER BY t.request_id, t.ord
    ), changed AS (
        UPDATE holds h SET state = 'settled', captured = i.price, resolved_at = now()
        FROM item i WHERE h.id = i.id AND i.state = 'open'
        RETURNING h.account_id, h.amount
    ), released AS (
        UPDATE wallets w SET held = w.held - f.freed
        FROM (SELECT account_id, sum(amount)::bigint AS freed FROM changed GROUP BY account_id) f
        WHERE w.account_id = f.account_id AND f.freed > 0
    )
    SELECT i.request_id, CASE
        WHEN i.id IS NULL THEN 'missing'
        WHEN i.state = 'settled' THEN 'already'
        WHEN i.state <> 'open' THEN 'resolved'
        ELSE 'captured'
    END FROM item i;
END $$;
