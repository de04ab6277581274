"""Addresses of an end user's pages. Each link's pages lie below its id, as its cookie does."""

from django.urls import URLPattern, path

from apps.console.user import credit, data, entry, fees, keys, limits, local, wallet

app_name = "me"
urlpatterns: list[URLPattern] = [
    path("open/<str:code>", entry.enter, name="open"),
    path("<str:link_id>/", wallet.wallet, name="wallet"),
    path("<str:link_id>/balance", wallet.live_balance, name="balance"),
    path("<str:link_id>/calls", wallet.calls, name="calls"),
    path("<str:link_id>/calls/<str:request_id>", wallet.receipt, name="receipt"),
    path("<str:link_id>/credit", wallet.credit_lots, name="credit"),
    path("<str:link_id>/buy", credit.buy, name="buy"),
    path("<str:link_id>/promo", credit.redeem, name="promo"),
    path("<str:link_id>/auto-top-up", credit.auto, name="auto"),
    path("<str:link_id>/card/forget", credit.forget, name="forget-card"),
    path("<str:link_id>/top-ups/<str:top_up_id>", credit.top_up_page, name="top-up"),
    path("<str:link_id>/top-ups/<str:top_up_id>/refund", credit.refund, name="refund"),
    path("<str:link_id>/keys", keys.keys, name="keys"),
    path("<str:link_id>/keys/new", keys.add_key, name="key-new"),
    path("<str:link_id>/keys/<str:key_id>", keys.key, name="key"),
    path("<str:link_id>/keys/<str:key_id>/validate", keys.validate_key, name="key-validate"),
    path("<str:link_id>/keys/<str:key_id>/rotate", keys.rotate_key, name="key-rotate"),
    path("<str:link_id>/keys/<str:key_id>/switch", keys.switch_key, name="key-switch"),
    path("<str:link_id>/keys/<str:key_id>/delete", keys.delete_key, name="key-delete"),
    path("<str:link_id>/local", local.local, name="local"),
    path("<str:link_id>/local/bridges", local.bridge_states, name="bridge-states"),
    path("<str:link_id>/local/bridges/<str:bridge_id>", local.bridge_state, name="bridge-state"),
    path("<str:link_id>/local/bridges/<str:bridge_id>/revoke", local.revoke, name="bridge-revoke"),
    path("<str:link_id>/local/endpoints/<str:endpoint_id>/remove", local.forget_endpoint, name="endpoint-remove"),
    path("<str:link_id>/fees", fees.fees, name="fees"),
    path("<str:link_id>/fees/acknowledge", fees.acknowledge, name="fee-acknowledge"),
    path("<str:link_id>/fees/agree", fees.agree, name="fee-agree"),
    path("<str:link_id>/fees/<str:subscription_id>/cancel", fees.cancel, name="fee-cancel"),
    path("<str:link_id>/limits", limits.limits, name="limits"),
    path("<str:link_id>/data", data.data, name="data"),
    path("<str:link_id>/data/all.json", data.all_data, name="data-all"),
    path("<str:link_id>/data/<str:name>.csv", data.table, name="data-table"),
    path("<str:link_id>/delete", data.delete, name="delete"),
]
