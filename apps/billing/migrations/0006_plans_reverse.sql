DROP TRIGGER fee_charges_acknowledged ON fee_charges;
DROP FUNCTION billing_check_fee_charge();
DROP TRIGGER fee_subscriptions_agreed ON fee_subscriptions;
DROP FUNCTION billing_keep_agreed_fee();
