-- What was rated before there were days.

        INSERT INTO usage_days (day, developer_id, app_id, feature_key, route_mode, provider, served_model, calls, failed, cached, input_tokens, output_tokens, price_nano, cost_nano, developer_nano, platform_nano, loss_nano, provider_bill_nano, duration_ms, first_byte_ms, first_bytes)
        SELECT day, developer_id, app_id, feature_key, route_mode, provider, served_model, calls, failed, cached, input_tokens, output_tokens, price_nano, cost_nano, developer_nano, platform_nano, loss_nano, provider_bill_nano, duration_ms, first_byte_ms, first_bytes FROM (
    SELECT (e.effective_at AT TIME ZONE 'UTC')::date AS day, e.developer_id, e.app_id, e.feature_key, e.route_mode,
           e.provider, e.served_model,
           count(*) AS calls, count(*) FILTER (WHERE NOT e.charged) AS failed,
           count(e.cache) AS cached,
           sum(e.input_tokens + e.cache_read_tokens + e.cache_write_tokens) AS input_tokens,
           sum(e.output_tokens) AS output_tokens,
           sum(c.price_nano) AS price_nano, sum(c.cost_nano) AS cost_nano, sum(c.developer_nano) AS developer_nano,
           sum(c.platform_nano) AS platform_nano, sum(c.loss_nano) AS loss_nano,
           sum(c.provider_bill_nano) AS provider_bill_nano, sum(e.duration_ms) AS duration_ms,
           coalesce(sum(e.first_byte_ms), 0) AS first_byte_ms, count(e.first_byte_ms) AS first_bytes
    FROM usage_events e JOIN usage_charges c ON c.event_id = e.id 
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS added ORDER BY developer_id, day, app_id, feature_key, route_mode, provider, served_model
    ;

        INSERT INTO usage_user_days (day, app_id, end_user_id, developer_id, calls, tokens, price_nano, developer_nano)
        SELECT day, app_id, end_user_id, developer_id, calls, tokens, price_nano, developer_nano FROM (
    SELECT (e.effective_at AT TIME ZONE 'UTC')::date AS day, e.app_id, e.end_user_id, e.developer_id,
           count(*) AS calls,
           sum(e.input_tokens + e.cache_read_tokens + e.cache_write_tokens + e.output_tokens) AS tokens,
           sum(c.price_nano) AS price_nano, sum(c.developer_nano) AS developer_nano
    FROM usage_events e JOIN usage_charges c ON c.event_id = e.id 
    WHERE e.end_user_id IS NOT NULL
    GROUP BY 1, 2, 3, 4
) AS added ORDER BY end_user_id, day
    ;
