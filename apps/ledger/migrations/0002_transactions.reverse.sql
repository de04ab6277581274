DROP FUNCTION ledger_content_hash(text, bigint, jsonb, text);
DROP TRIGGER ledger_transactions_balanced ON ledger_transactions;
DROP FUNCTION ledger_check_transactions();
DROP TRIGGER ledger_entries_checked ON ledger_entries;
DROP FUNCTION ledger_check_entries();
DROP TRIGGER ledger_entries_no_truncate ON ledger_entries;
DROP TRIGGER ledger_transactions_no_truncate ON ledger_transactions;
