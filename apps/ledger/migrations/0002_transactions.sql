CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();

-- Entries come before their header, so that the header's trigger sees all of them and none can follow.
CREATE FUNCTION ledger_check_entries() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT e.transaction_id INTO wrong
        FROM new_entries e JOIN ledger_transactions t ON t.id = e.transaction_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transaction % is complete: late entry refused', wrong USING ERRCODE = '23514';
    END IF;
    -- Wallets are never deleted, and each has its account: this is the entries' foreign key, once a statement.
    SELECT e.account_id INTO wrong
        FROM (SELECT DISTINCT account_id FROM new_entries) e LEFT JOIN wallets w ON w.account_id = e.account_id
        WHERE w.account_id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no account % to post to', wrong USING ERRCODE = '23503';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entries_checked AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS new_entries FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_entries();

CREATE FUNCTION ledger_check_transactions() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off AS $$
DECLARE
    wrong record;
BEGIN
    SELECT t.id, s.total, s.entries INTO wrong
        FROM new_transactions t
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(e.amount), 0) AS total, count(*) AS entries
            FROM ledger_entries e WHERE e.transaction_id = t.id
        ) s
        WHERE s.total <> 0 OR s.entries < 2 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transaction % has % entries that sum to %', wrong.id, wrong.entries, wrong.total
            USING ERRCODE = '23514';
    END IF;

    IF EXISTS (SELECT FROM new_transactions t WHERE t.reverses IS NOT NULL) THEN
        SELECT t.id, t.reverses INTO wrong
            FROM new_transactions t
            JOIN ledger_entries e ON e.transaction_id IN (t.id, t.reverses)
            WHERE t.reverses IS NOT NULL
            GROUP BY t.id, t.reverses, e.account_id HAVING sum(e.amount) <> 0 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % does not mirror transaction %', wrong.id, wrong.reverses
                USING ERRCODE = '23514';
        END IF;
        SELECT t.id, t.reverses INTO wrong
            FROM new_transactions t JOIN ledger_transactions o ON o.id = t.reverses
            WHERE o.reverses IS NOT NULL LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % reverses the reversal %', wrong.id, wrong.reverses USING ERRCODE = '23514';
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_transactions_balanced AFTER INSERT ON ledger_transactions
    REFERENCING NEW TABLE AS new_transactions FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_transactions();

-- The content of a transaction as one line, hashed: a replayed key is compared by it, and the verifier
-- recomputes it from the rows. `legs` is "account:amount,…" ordered by account and amount.
CREATE FUNCTION ledger_content_hash(kind text, reverses bigint, memo jsonb, legs text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN encode(sha256(convert_to(
        kind || E'\n' || coalesce(reverses::text, '') || E'\n' || legs || E'\n' || memo::text, 'UTF8')), 'hex');
