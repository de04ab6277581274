-- What an end user agreed to never changes.
CREATE FUNCTION billing_keep_agreed_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.end_user_id, NEW.app_id, NEW.developer_id, NEW.fee_id, NEW.fee_key, NEW.amount_nano, NEW.text,
        NEW.language, NEW.acknowledged_at)
       IS DISTINCT FROM
       (OLD.id, OLD.end_user_id, OLD.app_id, OLD.developer_id, OLD.fee_id, OLD.fee_key, OLD.amount_nano, OLD.text,
        OLD.language, OLD.acknowledged_at)
    THEN
        RAISE EXCEPTION 'what % agreed to never changes', OLD.id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER fee_subscriptions_agreed BEFORE UPDATE ON fee_subscriptions
FOR EACH ROW EXECUTE FUNCTION billing_keep_agreed_fee();

-- No fee is charged but the one that was disclosed and acknowledged, and none before that.
CREATE FUNCTION billing_check_fee_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1
    FROM fee_subscriptions subscription
    JOIN fees fee ON fee.id = subscription.fee_id
    WHERE subscription.id = NEW.subscription_id
          AND subscription.amount_nano = NEW.amount_nano
          AND fee.amount_nano = NEW.amount_nano
          AND subscription.acknowledged_at <= NEW.created_at
          AND (fee.interval = 'month' OR NEW.period = 1);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'charge % is not what was acknowledged', NEW.id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER fee_charges_acknowledged BEFORE INSERT ON fee_charges
FOR EACH ROW EXECUTE FUNCTION billing_check_fee_charge();
