DROP FUNCTION ledger_post_batch(
    text[], text[], bigint[], timestamptz[], jsonb[], integer[], bigint[], bigint[], text[], bigint[], text, timestamptz
);
