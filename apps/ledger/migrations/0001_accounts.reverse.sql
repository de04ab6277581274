DROP TRIGGER wallets_hold_growth ON wallets;
DROP TRIGGER wallets_keep_account ON wallets;
DROP TRIGGER wallets_start_empty ON wallets;
DROP FUNCTION ledger_refuse_wallet();
DROP TRIGGER wallets_no_truncate ON wallets;
DROP TRIGGER wallets_no_delete ON wallets;
DROP TRIGGER ledger_accounts_no_truncate ON ledger_accounts;
