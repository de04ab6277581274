-- Post a batch of transactions and capture holds, in one go. Leg n belongs to the posting at index
-- leg_postings[n]. A key that is known is not posted again: `created` is false, and `same` tells whether
-- its content is what was posted then.
CREATE FUNCTION ledger_post_batch(
    keys text[], kinds text[], reversed bigint[], effective timestamptz[], memos jsonb[],
    leg_postings integer[], leg_accounts bigint[], leg_amounts bigint[],
    capture_ids text[], capture_prices bigint[], written_by text, written_at timestamptz
) RETURNS TABLE (key text, transaction_id bigint, created boolean, same boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    ids bigint[];
    hashes text[];
    fresh boolean[];
    sames boolean[];
    touched bigint[];
    moved bigint[];
BEGIN
    WITH leg AS (
        SELECT l.posting, string_agg(l.account || ':' || l.amount, ',' ORDER BY l.account, l.amount) AS legs
        FROM unnest(leg_postings, leg_accounts, leg_amounts) AS l (posting, account, amount)
        GROUP BY l.posting
    ), item AS (
        SELECT t.ord, k.id, k.request_hash AS known,
               ledger_content_hash(t.kind, t.reverses, t.memo, coalesce(l.legs, '')) AS hash
        FROM unnest(keys, kinds, reversed, memos) WITH ORDINALITY AS t (key, kind, reverses, memo, ord)
        LEFT JOIN leg l ON l.posting = t.ord
        LEFT JOIN ledger_transactions k ON k.idempotency_key = t.key
    )
    SELECT array_agg(coalesce(i.id, nextval('ledger_transactions_id_seq')) ORDER BY i.ord),
           array_agg(i.hash ORDER BY i.ord),
           array_agg(i.id IS NULL ORDER BY i.ord),
           array_agg(i.id IS NULL OR i.known = i.hash ORDER BY i.ord)
    INTO ids, hashes, fresh, sames FROM item i;

    IF true = ANY (fresh) THEN
        INSERT INTO ledger_entries (transaction_id, account_id, amount)
            SELECT ids[l.posting], l.account, l.amount
            FROM unnest(leg_postings, leg_accounts, leg_amounts) AS l (posting, account, amount)
            WHERE fresh[l.posting];
        -- In the order of the keys: two batches that share some wait for each other instead of deadlocking.
        INSERT INTO ledger_transactions
            (id, kind, idempotency_key, request_hash, reverses, memo, actor, effective_at, created_at)
            SELECT t.id, t.kind, t.key, t.hash, t.reverses, t.memo, written_by, t.effective_at, written_at
            FROM unnest(ids, keys, kinds, hashes, reversed, memos, effective, fresh)
                AS t (id, key, kind, hash, reverses, memo, effective_at, fresh)
            WHERE t.fresh ORDER BY t.key COLLATE "C";
        SELECT array_agg(d.account), array_agg(d.delta) INTO touched, moved FROM (
            SELECT l.account, sum(l.amount)::bigint AS delta
            FROM unnest(leg_postings, leg_accounts, leg_amounts) AS l (posting, account, amount)
            WHERE fresh[l.posting] GROUP BY l.account
        ) d;
    END IF;

    -- The busiest wallets are shared by every batch, so they are locked last.
    PERFORM FROM wallets w WHERE w.account_id = ANY (touched || ARRAY(
        SELECT h.account_id FROM holds h WHERE h.request_id = ANY (capture_ids)
    )) ORDER BY w.account_id FOR UPDATE;
    UPDATE wallets w SET posted = w.posted + d.delta
        FROM unnest(touched, moved) AS d (account, delta) WHERE w.account_id = d.account;
    IF cardinality(capture_ids) > 0 THEN
        PERFORM FROM ledger_capture_holds(capture_ids, capture_prices);
    END IF;
    RETURN QUERY SELECT t.key, t.id, t.fresh, t.same FROM unnest(keys, ids, fresh, sames) AS t (key, id, fresh, same);
END $$;
