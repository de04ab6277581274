-- A wallet changes with every request of its owner: room in the page keeps those updates off the indexes.
ALTER TABLE wallets SET (fillfactor = 50);

CREATE TRIGGER ledger_accounts_no_truncate BEFORE TRUNCATE ON ledger_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER wallets_no_delete BEFORE DELETE ON wallets
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER wallets_no_truncate BEFORE TRUNCATE ON wallets
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();

CREATE FUNCTION ledger_refuse_wallet() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'wallet % does not start empty', NEW.account_id USING ERRCODE = '23514';
    ELSIF NEW.account_id <> OLD.account_id THEN
        RAISE EXCEPTION 'wallet % cannot pass to another account', OLD.account_id USING ERRCODE = '23514';
    ELSIF NEW.frozen_at IS NOT NULL THEN
        RAISE EXCEPTION 'wallet % is frozen', NEW.account_id USING ERRCODE = '23514';
    END IF;
    RAISE EXCEPTION 'wallet % cannot hold %: posted %, overdraft %', NEW.account_id, NEW.held, NEW.posted, NEW.overdraft
        USING ERRCODE = '23514';
END $$;

CREATE TRIGGER wallets_start_empty BEFORE INSERT ON wallets
    FOR EACH ROW WHEN (NEW.posted <> 0 OR NEW.held <> 0) EXECUTE FUNCTION ledger_refuse_wallet();
CREATE TRIGGER wallets_keep_account BEFORE UPDATE ON wallets
    FOR EACH ROW WHEN (NEW.account_id <> OLD.account_id) EXECUTE FUNCTION ledger_refuse_wallet();

-- On increases only: a settle above the estimate, a refund or a chargeback must still post.
CREATE TRIGGER wallets_hold_growth BEFORE UPDATE ON wallets
    FOR EACH ROW WHEN (
        NEW.held > OLD.held AND (NEW.frozen_at IS NOT NULL OR NEW.posted - NEW.held + NEW.overdraft < 0)
    ) EXECUTE FUNCTION ledger_refuse_wallet();
