"""What a month of a million calls takes: revenue, a proposal, exports, the proof. Run `python3 benchmarks/billing.py`.

Fills a database of its own (mf_bench_billing, dropped and made anew) by SQL with usage events of one developer, each
with its charge and ledger entries as rating would have posted them, and measures on it, each in a process of its own:
seconds, and the peak of its memory. `--keep` measures what the last run has left. Needs a PostgreSQL where it may make
databases and skip triggers: BENCH_DATABASE_URL, else postgres://postgres@127.0.0.1:5432/.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
DATABASE = "mf_bench_billing"
USERS = 1_000
# Tokens of the calls, in turn: their charges are derived once and copied.
SHAPES = ((1200, 0, 300), (800, 4000, 150), (150, 0, 900), (20_000, 0, 40), (60, 0, 60), (3000, 1000, 700))
CHUNK = 100_000
STEPS = ("revenue", "proposal", "proposal_run", "export_usage", "export_ledger", "export_revenue", "verify")
PROMISED = {"revenue": 60, "proposal": 60, "proposal_run": 60}

EVENTS = """
INSERT INTO usage_events (
    request_id, app_id, developer_id, end_user_id, feature_key, principal_id, account_id, endpoint, stream, route_mode,
    provider, credential_id, requested_model, served_model, outcome, charged, finish_reason, error_code, status,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, estimated, output_cap,
    price_version_id, terms_id, infra_nano, payment_bps, price_nano, cost_nano, provider_bill_nano, attempts,
    started_at, first_byte_ms, duration_ms, effective_at, created_at, rated_at
)
SELECT 'req_bench' || lpad(n::text, 10, '0'), %(app)s, %(developer)s, u.id,
       'default', 'sess_bench', u.account, 'chat.completions', false, 'platform',
       'bench', 'cred_bench', 'bench', 'bench', 'finished', true, 'stop', NULL, 200,
       s.input, s.cache_read, 0, s.output, 0, false, NULL, %(version)s, %(terms)s, 0, 0, s.price, s.cost, 0, '[]',
       at, 200, 900, at, at + interval '1 second', at + interval '2 seconds'
FROM generate_series(%(begin)s::bigint, %(end)s::bigint) n
JOIN unnest(%(inputs)s::bigint[], %(reads)s::bigint[], %(outputs)s::bigint[], %(prices)s::bigint[], %(costs)s::bigint[])
     WITH ORDINALITY AS s (input, cache_read, output, price, cost, number) ON s.number = 1 + n %% %(shapes)s
JOIN unnest(%(users)s::text[], %(accounts)s::bigint[]) WITH ORDINALITY AS u (id, account, number)
     ON u.number = 1 + n %% %(count)s
CROSS JOIN LATERAL (SELECT %(since)s::timestamptz + n * interval '1 day' * 30 / %(total)s AS at) moment
ORDER BY n
"""
POSTINGS = """
WITH made AS MATERIALIZED (
    SELECT e.id AS event_id, e.request_id, e.account_id, e.effective_at, e.created_at, s.*,
           nextval(pg_get_serial_sequence('ledger_transactions', 'id')) AS transaction_id
    FROM usage_events e
    JOIN unnest(%(prices)s::bigint[], %(costs)s::bigint[], %(developers)s::bigint[], %(platforms)s::bigint[])
         WITH ORDINALITY AS s (price, cost, developer, platform, number)
         ON s.number = 1 + right(e.request_id, 10)::bigint %% %(shapes)s
    WHERE e.request_id BETWEEN 'req_bench' || lpad(%(begin)s::text, 10, '0')
                           AND 'req_bench' || lpad(%(end)s::text, 10, '0')
    ORDER BY e.id
), legs AS (
    SELECT transaction_id, leg.* FROM made CROSS JOIN LATERAL (VALUES
        (1, account_id, -price), (2, %(provider_account)s::bigint, cost),
        (3, %(developer_account)s::bigint, developer), (4, %(platform_account)s::bigint, platform)
    ) leg (number, account, amount) WHERE amount <> 0
), entries AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount)
    SELECT transaction_id, account, amount FROM legs ORDER BY transaction_id, number
), headers AS (
    INSERT INTO ledger_transactions (id, kind, idempotency_key, request_hash, memo, actor, effective_at, created_at)
    SELECT m.transaction_id, 'usage', 'usage:' || m.request_id,
           ledger_content_hash('usage', NULL, memo, (
               SELECT string_agg(l.account || ':' || l.amount, ',' ORDER BY l.account, l.amount)
               FROM (VALUES (m.account_id, -price), (%(provider_account)s::bigint, cost),
                            (%(developer_account)s::bigint, developer), (%(platform_account)s::bigint, platform)
               ) l (account, amount) WHERE l.amount <> 0
           )), memo, 'rating', m.effective_at, m.created_at
    FROM made m CROSS JOIN LATERAL (SELECT jsonb_build_object('request_id', m.request_id) AS memo) j
)
INSERT INTO usage_charges (
    event_id, price_nano, cost_nano, infra_nano, payment_nano, developer_nano, platform_nano, loss_nano,
    provider_bill_nano, transaction_id, created_at
)
SELECT event_id, price, cost, 0, 0, developer, platform, 0, 0, transaction_id, created_at FROM made
"""
WALLETS = """
UPDATE wallets w SET posted = s.total
FROM (SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id) s
WHERE s.account_id = w.account_id
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="Measure the database that the last run has left.")
    parser.add_argument("--only", default="", help=f"Some of {', '.join(STEPS)}, with commas.")
    parser.add_argument("--step", choices=("fill", *STEPS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        return _step(asked.step, asked.events)
    env = _environment()
    if not asked.keep:
        _make_database()
        _run([str(PYTHON), "manage.py", "migrate", "--verbosity", "0"], env)
        print(json.dumps(_measured("fill", asked.events, env)), flush=True)
    missed = []
    for step in asked.only.split(",") if asked.only else STEPS:
        found = _measured(step, asked.events, env)
        print(json.dumps(found), flush=True)
        if found["seconds"] > PROMISED.get(step, 10**9):
            missed.append(step)
    if missed:
        print(f"Slower than promised: {', '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0


def _server() -> str:
    return os.environ.get("BENCH_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/").rpartition("/")[0]


def _environment() -> dict[str, str]:
    var = ROOT / "var" / "bench"
    var.mkdir(parents=True, exist_ok=True)
    more = {"PROFILE": "embedded", "REDIS_URL": "", "VAR_DIR": str(var), "DEMO": "0", "STRIPE_ENABLED": "0"}
    return {
        **os.environ,
        **more,
        "DATABASE_URL": f"{_server()}/{DATABASE}",
        "DJANGO_SETTINGS_MODULE": "modelfaucet.settings",
        "PYTHONPATH": str(ROOT),
    }


def _make_database() -> None:
    script = (
        "import psycopg, sys\n"
        "with psycopg.connect(sys.argv[1], autocommit=True) as connection:\n"
        "    connection.execute('DROP DATABASE IF EXISTS ' + sys.argv[2] + ' WITH (FORCE)')\n"
        "    connection.execute('CREATE DATABASE ' + sys.argv[2])\n"
    )
    _run([str(PYTHON), "-c", script, f"{_server()}/postgres", DATABASE], dict(os.environ))


def _run(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def _measured(step: str, events: int, env: dict[str, str]) -> dict[str, float]:
    out = _run([str(PYTHON), str(Path(__file__)), "--step", step, "--events", str(events)], env)
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def _step(step: str, events: int) -> int:
    """Do one thing in this process, and print what it took."""
    import django

    django.setup()
    before = _peak()
    begun = time.perf_counter()
    told = _fill(events) if step == "fill" else _MEASURES[step]()
    seconds = time.perf_counter() - begun
    result = {"step": step, "seconds": round(seconds, 1), "rss_mb": _peak(), "rss_before_mb": before, **told}
    print(json.dumps(result))
    return 0


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# ---- filling ----


def _fill(events: int) -> dict[str, object]:
    from datetime import timedelta

    from django.db import connection

    from apps.billing.services.payout_accounts import use_bank_details
    from apps.catalog.services.offers import add_model, add_offer, add_provider
    from apps.catalog.services.prices import complete_tier, publish_price
    from apps.core.clock import now as clock
    from apps.developers.services.developers import create_developer
    from apps.features.queries import authenticate
    from apps.features.services.apps import create_app
    from apps.features.services.end_users import ensure_end_user
    from apps.features.services.terms import TermsInput
    from apps.features.services.tokens import open_session
    from apps.ledger.models import AccountKind
    from apps.ledger.services.accounts import open_accounts
    from apps.ledger.services.transfers import top_up
    from apps.usage.services.days import rebuild_days

    now = clock()
    since = now - timedelta(days=75)
    by = {"now": since, "actor": "benchmark"}
    add_provider(
        id="bench", name="Fake", base_url="https://bench.example/v1", resale_allowed=True, trains_on_data=False, **by
    )
    add_model(id="bench", name="Benchmark", **by)
    offer = add_offer(
        provider="bench",
        model="bench",
        upstream_model="bench",
        capabilities=["chat"],
        context_window=128_000,
        max_output_tokens=16_384,
        tokenizer="o200k_base",
        **by,
    )
    tier = complete_tier(from_tokens=0, input=150_000_000, output=600_000_000)  # 0.15 and 0.60 USD per million
    publish_price(offer, [tier], since, "benchmark", **by)
    developer = create_developer("Benchmark", "bench@example.com", **by)
    terms = TermsInput(markup_bps=4000, share_bps=4000)
    app = create_app(developer_id=developer, name="Benchmark", terms=terms, default_model="bench", **by)
    users = [ensure_end_user(app_id=app, external_id=f"user-{n}", anonymous=False, now=since) for n in range(USERS)]
    accounts = open_accounts([(AccountKind.END_USER, user) for user in users], now=since)
    for user, account in ((owner, account) for (_, owner), account in accounts.items()):
        top_up(account, 10**14, source="bench", idempotency_key=f"bench:{user}", **by)
    bank = {"holder": "B", "country": "DE", "bank_name": "B", "iban": "DE89370400440532013000", "bic": "COBADEFF"}
    use_bank_details(developer, bank, now=since, actor="benchmark")
    session = open_session(app_id=app, feature_key=None, end_user_id=users[0], assurance="user_token", ttl=60, now=now)
    terms_in_force = authenticate(session.token, now=now).terms
    values = _values(events, since, developer, app, users, accounts, terms_in_force)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # the proof looks at it all afterwards
        for begin in range(1, events + 1, CHUNK):
            values |= {"begin": begin, "end": min(begin + CHUNK - 1, events)}
            cursor.execute(EVENTS, values)
            cursor.execute(POSTINGS, values)
        cursor.execute(WALLETS)
        cursor.execute("SET session_replication_role = origin")
        rebuild_days()
        cursor.execute("VACUUM ANALYZE")
    return {"events": events}


def _values(events, since, developer, app, users, accounts, terms) -> dict[str, object]:  # type: ignore[no-untyped-def]
    from apps.catalog.queries import load_catalog
    from apps.core.clock import now
    from apps.ledger.models import AccountKind
    from apps.ledger.services.accounts import open_accounts
    from apps.usage.rate import PLATFORM, Overheads, Tokens, rate

    price = load_catalog(now=now()).offers["bench"][0].price
    charges = [
        rate(Tokens(input=i, cache_read=r, output=o), price, terms, mode=PLATFORM, overheads=Overheads())
        for i, r, o in SHAPES
    ]
    owners = {
        "provider_account": (AccountKind.PROVIDER_COST.value, "bench"),
        "developer_account": (AccountKind.DEVELOPER.value, developer),
        "platform_account": (AccountKind.PLATFORM.value, "operator"),
    }
    opened = open_accounts(list(owners.values()), now=since)
    return {
        "app": app,
        "developer": developer,
        "users": users,
        "accounts": [accounts[AccountKind.END_USER, user] for user in users],
        "count": len(users),
        "version": price.version_id,
        "terms": terms.id,
        "inputs": [i for i, _, _ in SHAPES],
        "reads": [r for _, r, _ in SHAPES],
        "outputs": [o for _, _, o in SHAPES],
        "prices": [charge.price for charge in charges],
        "costs": [charge.cost for charge in charges],
        "developers": [charge.developer for charge in charges],
        "platforms": [charge.platform for charge in charges],
        "shapes": len(SHAPES),
        "since": since,
        "total": events,
        **{name: opened[owner] for name, owner in owners.items()},
    }


# ---- measuring ----


def _developer() -> str:
    from apps.billing.models.payouts import PayoutAccount

    return PayoutAccount.objects.values_list("developer_id", flat=True).get()


def _revenue() -> dict[str, object]:
    from datetime import timedelta

    from apps.core.clock import now
    from apps.usage.queries import revenue_of

    found = revenue_of(_developer(), begin=now() - timedelta(days=80), end=now() - timedelta(days=40))
    return {"calls": found.calls, "developer_nano": found.developer}


def _proposal() -> dict[str, object]:
    from apps.billing.services.payouts import payable
    from apps.core.clock import now

    found = payable(_developer(), now=now())
    return {"payable_nano": found.payable}


def _proposal_run() -> dict[str, object]:
    from django.db import transaction

    from apps.billing.services.payouts import run_proposals
    from apps.core.clock import now

    with transaction.atomic():
        made = run_proposals(now=now())
        transaction.set_rollback(True)
    return {"proposals": made}


def _export(kind: str) -> Callable[[], dict[str, object]]:
    def run() -> dict[str, object]:
        from apps.billing.queries.exports import developer_export
        from apps.core.csv_stream import CsvStream

        stream = CsvStream(developer_export(kind, _developer(), begin=None, end=None), owner="benchmark")
        rows = size = 0
        while piece := stream.read():
            rows += piece.count(b"\r\n")
            size += len(piece)
        return {"rows": rows - 1, "megabytes": size // 10**6}

    return run


def _verify() -> dict[str, object]:
    from django.core.management import call_command

    call_command("verify_ledger", stdout=sys.stderr)
    return {}


_MEASURES: dict[str, Callable[[], dict[str, object]]] = {
    "revenue": _revenue,
    "proposal": _proposal,
    "proposal_run": _proposal_run,
    "export_usage": _export("usage"),
    "export_ledger": _export("ledger"),
    "export_revenue": _export("revenue"),
    "verify": _verify,
}


if __name__ == "__main__":
    sys.exit(main())
