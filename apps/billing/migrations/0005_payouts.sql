-- Plain text cannot be put into the column, whoever writes.
ALTER TABLE payout_details ADD CONSTRAINT payout_details_sealed
    CHECK (content ~ '^mfv1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$');

CREATE FUNCTION billing_keep_payout_details() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Only the sealing may be renewed, when keys are rotated.
    IF (to_jsonb(NEW) - 'content') <> (to_jsonb(OLD) - 'content') THEN
        RAISE EXCEPTION 'bank details % do not change', OLD.id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payout_details_kept BEFORE UPDATE ON payout_details
    FOR EACH ROW EXECUTE FUNCTION billing_keep_payout_details();
CREATE TRIGGER payout_details_no_delete BEFORE DELETE ON payout_details
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER payouts_no_delete BEFORE DELETE ON payouts
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER payouts_no_truncate BEFORE TRUNCATE ON payouts
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER payout_reviews_no_truncate BEFORE TRUNCATE ON payout_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION core_refuse_change();

CREATE FUNCTION billing_check_payout() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    free constant text[] := ARRAY[
        'status', 'round', 'accepted_risk', 'transfer_id', 'stripe_payout_id', 'reference', 'payout_transaction_id',
        'sent_transaction_id', 'returned_nano', 'return_cause', 'attempts', 'refusals', 'next_attempt_at', 'last_error',
        'approved_at', 'sending_at', 'sent_at', 'paid_at', 'closed_at'
    ];
    allowed text[];
    approvals integer;
    others integer;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status NOT IN ('proposed', 'held') OR NEW.round <> 1 OR NEW.payout_transaction_id IS NOT NULL
            OR NEW.sent_transaction_id IS NOT NULL OR NEW.transfer_id IS NOT NULL OR NEW.returned_nano <> 0 THEN
            RAISE EXCEPTION 'payout % does not begin as a proposal', NEW.id USING ERRCODE = '23514';
        END IF;
        RETURN NEW;
    END IF;

    IF (to_jsonb(NEW) - free) <> (to_jsonb(OLD) - free) THEN
        RAISE EXCEPTION 'what payout % was proposed with does not change', OLD.id USING ERRCODE = '23514';
    END IF;
    IF (OLD.payout_transaction_id IS NOT NULL AND NEW.payout_transaction_id IS DISTINCT FROM OLD.payout_transaction_id)
        OR (OLD.sent_transaction_id IS NOT NULL AND NEW.sent_transaction_id IS DISTINCT FROM OLD.sent_transaction_id)
        OR (OLD.transfer_id IS NOT NULL AND NEW.transfer_id IS DISTINCT FROM OLD.transfer_id)
        OR (OLD.stripe_payout_id IS NOT NULL AND NEW.stripe_payout_id IS DISTINCT FROM OLD.stripe_payout_id)
        OR NEW.returned_nano < OLD.returned_nano THEN
        RAISE EXCEPTION 'what was posted and sent for payout % does not change', OLD.id USING ERRCODE = '23514';
    END IF;
    IF NEW.status = OLD.status THEN
        IF NEW.round <> OLD.round THEN
            RAISE EXCEPTION 'payout % begins a round by being released', OLD.id USING ERRCODE = '23514';
        END IF;
        RETURN NEW;
    END IF;

    allowed := CASE OLD.status
        WHEN 'proposed' THEN ARRAY['approved', 'held', 'rejected']
        WHEN 'held' THEN ARRAY['proposed', 'rejected']
        -- Straight to paid is the way of the manual rail.
        WHEN 'approved' THEN ARRAY['sending', 'held', 'rejected', 'paid']
        -- Back to approved only where it is certain that nothing was sent.
        WHEN 'sending' THEN ARRAY['sent', 'approved', 'held', 'failed']
        WHEN 'sent' THEN ARRAY['paid', 'failed', 'reversed']
        WHEN 'paid' THEN ARRAY['failed', 'reversed']
        ELSE ARRAY[]::text[]
    END;
    IF NOT NEW.status = ANY (allowed) THEN
        RAISE EXCEPTION 'payout % cannot go from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = '23514';
    END IF;
    IF NEW.round <> OLD.round + (OLD.status = 'held' AND NEW.status = 'proposed')::integer THEN
        RAISE EXCEPTION 'payout % begins a round by being released', OLD.id USING ERRCODE = '23514';
    END IF;
    IF OLD.status = 'approved' AND NEW.status = 'paid' AND NEW.rail <> 'manual' THEN
        RAISE EXCEPTION 'payout % is sent before it is paid', OLD.id USING ERRCODE = '23514';
    END IF;
    IF OLD.status = 'sending' AND NEW.status IN ('approved', 'held', 'failed') AND NEW.transfer_id IS NOT NULL THEN
        RAISE EXCEPTION 'payout % was transferred', OLD.id USING ERRCODE = '23514';
    END IF;

    IF NEW.status IN ('approved', 'sending', 'sent', 'paid') THEN
        SELECT count(DISTINCT r.reviewer), count(DISTINCT r.reviewer) FILTER (WHERE r.reviewer <> NEW.requested_by)
            INTO approvals, others
            FROM payout_reviews r
            WHERE r.payout_id = NEW.id AND r.round = NEW.round AND r.decision = 'approve';
        IF approvals < NEW.approvals_needed OR others < 1 THEN
            RAISE EXCEPTION 'payout % has % of % approvals, % of them by others than who proposed it',
                NEW.id, approvals, NEW.approvals_needed, others USING ERRCODE = '23514';
        END IF;
        IF NOT EXISTS (SELECT FROM ledger_transactions t WHERE t.id = NEW.payout_transaction_id
                       AND t.idempotency_key = 'payout:' || NEW.id) THEN
            RAISE EXCEPTION 'payout % is not posted', NEW.id USING ERRCODE = '23514';
        END IF;
    END IF;
    IF NEW.status IN ('sent', 'paid')
        AND NOT EXISTS (SELECT FROM ledger_transactions t WHERE t.id = NEW.sent_transaction_id
                        AND t.idempotency_key = 'payout_sent:' || NEW.id) THEN
        RAISE EXCEPTION 'the sending of payout % is not posted', NEW.id USING ERRCODE = '23514';
    END IF;
    IF NEW.status IN ('failed', 'reversed', 'rejected') AND NEW.payout_transaction_id IS NOT NULL
        AND NEW.returned_nano < NEW.amount_nano
        AND NOT EXISTS (SELECT FROM ledger_transactions t WHERE t.reverses = NEW.payout_transaction_id) THEN
        RAISE EXCEPTION 'the money of payout % did not come back', NEW.id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payouts_checked BEFORE INSERT OR UPDATE ON payouts
    FOR EACH ROW EXECUTE FUNCTION billing_check_payout();

CREATE FUNCTION billing_check_payout_review() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    reviewed record;
BEGIN
    -- Locked, so that no decision about a payout is written while another one changes it.
    SELECT p.status, p.round INTO reviewed FROM payouts p WHERE p.id = NEW.payout_id FOR UPDATE;
    IF NEW.decision = 'approve' AND (reviewed.status <> 'proposed' OR reviewed.round <> NEW.round) THEN
        RAISE EXCEPTION 'payout % is %, not waiting for approval', NEW.payout_id, reviewed.status
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payout_reviews_checked BEFORE INSERT ON payout_reviews
    FOR EACH ROW EXECUTE FUNCTION billing_check_payout_review();
