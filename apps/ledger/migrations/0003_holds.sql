-- A hold is updated two or three times: with room in the page, metering touches no index.
ALTER TABLE holds SET (fillfactor = 50);

CREATE TRIGGER holds_no_delete BEFORE DELETE ON holds FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER holds_no_truncate BEFORE TRUNCATE ON holds FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();

CREATE FUNCTION ledger_refuse_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'open' THEN
        RAISE EXCEPTION 'hold % is % already', OLD.request_id, OLD.state USING ERRCODE = '23514';
    END IF;
    RAISE EXCEPTION 'hold % keeps its request and account, and only shrinks', OLD.request_id USING ERRCODE = '23514';
END $$;

CREATE TRIGGER holds_resolve_once BEFORE UPDATE ON holds
    FOR EACH ROW WHEN (
        OLD.state <> 'open' OR NEW.request_id <> OLD.request_id OR NEW.account_id <> OLD.account_id
        OR NEW.amount > OLD.amount
    ) EXECUTE FUNCTION ledger_refuse_hold();

-- Locks, in every function below and in post_batch: wallets in the order of their accounts, then holds in the
-- order of their ids. Whoever changes a hold's amount or state holds its wallet's lock, so a statement after
-- the locks reads what is true. Plans are generic and by index: the batch size must not change them, and a
-- plan made while the tables were empty must not scan them once they are full.

-- Decide the items of each account in their order. `available` is what could be spent before the item.
-- A request that has its hold already is a 'duplicate', with what that hold still keeps for it in `granted`.
CREATE FUNCTION ledger_take_holds(
    request_ids text[], account_ids bigint[], amounts bigint[], minima bigint[], expires timestamptz[], memos jsonb[]
) RETURNS TABLE (request_id text, granted bigint, available bigint, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    item record;
    account bigint := NULL;
    room bigint;
    items constant integer := cardinality(request_ids);
    grants bigint[] := array_fill(NULL::bigint, ARRAY[items]);
    taken boolean := false;
BEGIN
    IF items = 0 THEN
        RETURN;
    END IF;
    PERFORM FROM wallets w WHERE w.account_id = ANY (account_ids) ORDER BY w.account_id FOR UPDATE;
    FOR item IN
        SELECT t.request_id, t.account_id, t.amount, t.minimum, t.ord,
               row_number() OVER (PARTITION BY t.request_id ORDER BY t.ord) > 1 AS repeated,
               w.posted - w.held + w.overdraft AS room, w.frozen_at IS NOT NULL AS frozen,
               h.id AS hold, CASE WHEN h.state = 'open' THEN h.amount ELSE 0 END AS kept
        FROM unnest(request_ids, account_ids, amounts, minima)
            WITH ORDINALITY AS t (request_id, account_id, amount, minimum, ord)
        LEFT JOIN wallets w ON w.account_id = t.account_id
        LEFT JOIN holds h ON h.request_id = t.request_id
        ORDER BY t.account_id, t.ord
    LOOP
        IF account IS DISTINCT FROM item.account_id THEN
            account := item.account_id;
            room := item.room;
        END IF;
        request_id := item.request_id;
        available := coalesce(room, 0);
        granted := 0;
        IF item.hold IS NOT NULL THEN
            outcome := 'duplicate';
            granted := item.kept;
        ELSIF item.repeated THEN
            outcome := 'duplicate';
        ELSIF item.room IS NULL THEN
            outcome := 'no_account';
        ELSIF item.frozen THEN
            outcome := 'frozen';
        ELSE
            IF item.amount <= greatest(room, 0) THEN
                granted := item.amount;
                outcome := 'granted';
            ELSIF item.minimum < item.amount AND room > 0 AND room >= item.minimum THEN
                granted := room;
                outcome := 'granted';
            ELSE
                outcome := 'insufficient';
            END IF;
            IF outcome = 'granted' THEN
                room := room - granted;
                grants[item.ord] := granted;
                taken := true;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF taken THEN
        WITH new_holds AS (
            INSERT INTO holds (request_id, account_id, amount, expires_at, memo, created_at)
            SELECT t.request_id, t.account_id, t.granted, t.expires_at, t.memo, now()
            FROM unnest(request_ids, account_ids, grants, expires, memos)
                AS t (request_id, account_id, granted, expires_at, memo)
            WHERE t.granted IS NOT NULL
            RETURNING holds.account_id, holds.amount
        )
        UPDATE wallets w SET held = w.held + n.total
            FROM (SELECT account_id, sum(amount)::bigint AS total FROM new_holds GROUP BY account_id) n
            WHERE w.account_id = n.account_id AND n.total > 0;
    END IF;
END $$;

-- The usage event is stored: the hold shrinks to the price and waits for rating; at price 0 it ends here.
CREATE FUNCTION ledger_meter_holds(request_ids text[], prices bigint[])
RETURNS TABLE (request_id text, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM wallets w WHERE w.account_id = ANY (ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (request_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
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

-- The lease of requests that are still being answered. It is never shortened.
CREATE FUNCTION ledger_renew_holds(request_ids text[], expires_at timestamptz)
RETURNS TABLE (request_id text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
    RETURN QUERY
    UPDATE holds h SET expires_at = greatest(h.expires_at, ledger_renew_holds.expires_at)
    WHERE h.request_id = ANY (request_ids) AND h.state = 'open'
    RETURNING h.request_id;
END $$;

-- Nothing was spent: give the hold back. A metered hold has a usage event and is left to rating.
CREATE FUNCTION ledger_void_holds(request_ids text[])
RETURNS TABLE (request_id text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM wallets w WHERE w.account_id = ANY (ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (request_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
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
CREATE FUNCTION ledger_expire_holds(request_ids text[], at timestamptz)
RETURNS TABLE (request_id text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM wallets w WHERE w.account_id = ANY (ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (request_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
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
CREATE FUNCTION ledger_capture_holds(request_ids text[], prices bigint[])
RETURNS TABLE (request_id text, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM wallets w WHERE w.account_id = ANY (ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (request_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    PERFORM FROM holds h WHERE h.request_id = ANY (request_ids) ORDER BY h.id FOR UPDATE;
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
