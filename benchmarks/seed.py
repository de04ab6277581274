"""Make what a call needs and print `{"session_token": …}`. `python seed.py http://127.0.0.1:PORT/v1`.

Run by faucet.py in the environment of the server under test, on a database just migrated.
"""

import json
import sys

import django
from wire import MODEL

NANO = 10**9


def main(base_url: str) -> None:
    django.setup()
    from apps.catalog.services.offers import add_model, add_offer, add_provider
    from apps.catalog.services.prices import complete_tier, publish_price
    from apps.core.clock import now as clock
    from apps.developers.services.developers import create_developer
    from apps.features.services.apps import create_app
    from apps.features.services.end_users import ensure_end_user
    from apps.features.services.terms import TermsInput
    from apps.features.services.tokens import open_session
    from apps.ledger.models import AccountKind
    from apps.ledger.services.accounts import open_account
    from apps.ledger.services.transfers import top_up
    from apps.vault.services.credentials import add_credential

    now, actor = clock(), "benchmark"
    by = {"now": now, "actor": actor}
    add_provider(id="bench", name="Fake provider", base_url=base_url, resale_allowed=True, trains_on_data=False, **by)
    add_model(id=MODEL, name="Benchmark", **by)
    offer = add_offer(
        provider="bench",
        model=MODEL,
        upstream_model=MODEL,
        capabilities=["chat", "stream"],
        context_window=128_000,
        max_output_tokens=16_384,
        tokenizer="o200k_base",
        **by,
    )
    tier = complete_tier(from_tokens=0, input=150_000_000, output=600_000_000)  # 0.15 and 0.60 USD per million
    publish_price(offer, [tier], now, "benchmark", **by)
    add_credential(owner_class="platform", provider="bench", label="bench", secret="sk-bench", **by)  # noqa: S106

    developer = create_developer("Benchmark", "bench@example.com", **by)
    terms = TermsInput(markup_bps=4000, share_bps=4000)
    app = create_app(developer_id=developer, name="Benchmark", terms=terms, default_model=MODEL, **by)
    user = ensure_end_user(app_id=app, external_id="bench", anonymous=False, now=now)
    account = open_account(kind=AccountKind.END_USER, owner_id=user, now=now)
    top_up(account, 1_000_000 * NANO, source="benchmark", idempotency_key="benchmark", **by)
    session = open_session(app_id=app, feature_key=None, end_user_id=user, assurance="user_token", ttl=86_400, now=now)
    print(json.dumps({"session_token": session.token}))


if __name__ == "__main__":
    main(sys.argv[1])
