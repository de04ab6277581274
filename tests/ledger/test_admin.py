import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse as url
from django.utils.timezone import localtime

from apps.developers.models import AuditEvent
from apps.ledger import queries
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.services.accounts import freeze_wallet
from apps.ledger.services.batches import Leg, post
from tests.ledger.factories import NOW, account, assert_proven, money, take

pytestmark = pytest.mark.django_db

TABLES = ("ledgeraccount", "wallet", "ledgertransaction", "ledgerentry", "hold")


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def user() -> int:
    return account(funds=2_000_000_000)


@pytest.fixture
def call(user: int) -> int:
    take("req_1", user, 500_000_000)
    provider = account("openai", kind=AccountKind.PROVIDER_COST)
    legs = [Leg(user, -10_000_000), Leg(provider, 10_000_000)]
    memo = {"request_id": "req_1"}
    return post(kind="usage", legs=legs, idempotency_key="usage:req_1", now=NOW, actor="rating", memo=memo)


def listing(table: str, **query: str) -> str:
    return url(f"admin:ledger_{table}_changelist", query=query)


def rows(client: Client, table: str, term: str) -> int:
    response = client.get(listing(table, q=term))
    assert response.status_code == 200
    return len(response.context["cl"].result_list)


def act(client: Client, table: str, action: str, pk: int) -> str:
    return client.post(listing(table), {"action": action, "_selected_action": [pk]}, follow=True).content.decode()


@pytest.mark.parametrize("table", TABLES)
def test_table_is_shown_but_never_added_to_or_deleted_from(operator, call, table):
    assert operator.get(listing(table)).status_code == 200
    assert operator.get(url(f"admin:ledger_{table}_add")).status_code == 403
    model = {"ledgeraccount": user_pk(), "wallet": user_pk(), "ledgertransaction": call}.get(table)
    if model:
        assert operator.get(url(f"admin:ledger_{table}_change", args=[model])).status_code == 200
        assert operator.post(url(f"admin:ledger_{table}_delete", args=[model])).status_code == 403
    if table not in {"wallet"} and model:
        assert operator.post(url(f"admin:ledger_{table}_change", args=[model]), {}).status_code == 403


def user_pk() -> int:
    pk = queries.account_id("end_user", "usr_1")
    assert pk is not None
    return pk


@pytest.mark.parametrize("table", TABLES)
def test_table_is_hidden_from_staff_without_permission(client, call, table):
    client.force_login(User.objects.create_user("clerk", is_staff=True))

    assert client.get(listing(table)).status_code == 403


@pytest.mark.parametrize("table", TABLES)
def test_table_is_hidden_from_strangers(client, table):
    assert client.get(listing(table)).status_code == 302


@pytest.mark.parametrize(
    ("table", "term", "found"),
    [
        ("ledgeraccount", "usr_1", 1),
        ("ledgeraccount", "usr", 0),
        ("wallet", " usr_1 ", 1),
        ("wallet", "usr_9", 0),
        ("ledgertransaction", "usage:req_1", 1),
        ("ledgertransaction", "req_1", 1),
        ("ledgertransaction", "usr_1", 2),
        ("ledgertransaction", "openai", 1),
        ("ledgertransaction", "req_9", 0),
        ("ledgerentry", "usr_1", 2),
        ("ledgerentry", "req_1", 2),
        ("ledgerentry", "usage:req_1", 2),
        ("hold", "req_1", 1),
        ("hold", "usr_1", 1),
        ("hold", "99999999999999999999999", 0),
    ],
)
def test_search_takes_whole_owners_requests_and_keys(operator, call, table, term, found):
    assert rows(operator, table, term) == found


def test_search_by_number(operator, user, call):
    assert rows(operator, "wallet", str(user)) == 1
    assert rows(operator, "ledgertransaction", str(call)) == 1


@pytest.mark.parametrize("table", TABLES)
def test_list_asks_as_often_for_many_rows_as_for_one(operator, call, table, django_assert_max_num_queries):
    for number in range(3):
        account(f"usr_2{number}", funds=5)
        take(f"req_2{number}", account(f"usr_2{number}"), 5)
    with django_assert_max_num_queries(8):
        operator.get(listing(table))


def test_transaction_shows_its_entries(operator, call):
    page = operator.get(url("admin:ledger_ledgertransaction_change", args=[call])).content.decode()

    assert "-0.0100" in page
    assert "provider_cost:openai" in page


def test_freeze_and_unfreeze_act_and_are_audited(operator, user):
    act(operator, "wallet", "freeze", user)
    assert queries.balance(user).frozen
    act(operator, "wallet", "unfreeze", user)
    assert not queries.balance(user).frozen

    pk = User.objects.get().pk
    assert list(AuditEvent.objects.order_by("id").values_list("action", "actor")) == [
        ("wallet.freeze", f"user:{pk}"),
        ("wallet.unfreeze", f"user:{pk}"),
    ]


def test_freeze_needs_the_permission_to_change(client, user):
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_wallet"))
    client.force_login(clerk)

    act(client, "wallet", "freeze", user)

    assert not queries.balance(user).frozen


def wallet_form(client: Client, pk: int, **given: str) -> dict[str, str]:
    page = client.get(url("admin:ledger_wallet_change", args=[pk])).content.decode()
    key = re.search(r'name="adjustment_key" value="(adj_\w+)"', page)
    assert key
    return {"overdraft_usd": "0", "adjustment_usd": "", "reason": "", "adjustment_key": key[1], **given}


def test_wallet_form_sent_twice_adjusts_once(operator, user):
    form = wallet_form(operator, user, adjustment_usd="-2.50", reason="chargeback dp_1", overdraft_usd="1")

    for _ in range(2):
        response = operator.post(url("admin:ledger_wallet_change", args=[user]), form)
        assert response.status_code == 302

    assert money(user) == (-500_000_000, 0)
    assert queries.balance(user).overdraft == 1_000_000_000
    posted = LedgerTransaction.objects.get(kind="adjustment")
    assert posted.memo == {"reason": "chargeback dp_1"}
    assert posted.actor == f"user:{User.objects.get().pk}"
    assert_proven()


@pytest.mark.parametrize(
    "given",
    [
        {"adjustment_usd": "5"},
        {"adjustment_usd": "0.0000000001", "reason": "why"},
        {"adjustment_usd": "1e30", "reason": "why"},
        {"adjustment_usd": "NaN", "reason": "why"},
        {"overdraft_usd": "-1"},
        {"overdraft_usd": ""},
    ],
)
def test_wallet_form_that_makes_no_sense_is_refused(operator, user, given):
    response = operator.post(url("admin:ledger_wallet_change", args=[user]), wallet_form(operator, user, **given))

    assert response.status_code == 200
    assert response.context["errors"]
    assert money(user) == (2_000_000_000, 0)
    assert queries.balance(user).overdraft == 0


def test_wallet_form_without_changes_changes_nothing(operator, user):
    freeze_wallet(user, now=NOW, actor="test")

    operator.post(url("admin:ledger_wallet_change", args=[user]), wallet_form(operator, user))

    assert queries.balance(user) == queries.Balance(posted=2_000_000_000, held=0, overdraft=0, frozen=True)


def test_reverse_posts_the_mirror_once(operator, user, call):
    act(operator, "ledgertransaction", "reverse", call)
    act(operator, "ledgertransaction", "reverse", call)

    assert money(user)[0] == 2_000_000_000
    assert LedgerTransaction.objects.get(reverses=call).memo == {"cause": "operator", "request_id": "req_1"}
    assert_proven()


def test_reverse_of_a_reversal_is_refused_with_a_message(operator, call):
    act(operator, "ledgertransaction", "reverse", call)
    reversal = LedgerTransaction.objects.get(reverses=call).pk

    assert "is a reversal" in act(operator, "ledgertransaction", "reverse", reversal)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_times_are_shown_to_the_second_in_each_language(operator, call, language):
    shown = localtime(LedgerTransaction.objects.get(pk=call).effective_at).strftime("%Y-%m-%d %H:%M:%S")
    for table in ("ledgertransaction", "ledgerentry"):
        assert shown in operator.get(listing(table), headers={"accept-language": language}).text
    assert shown in operator.get(url("admin:ledger_ledgertransaction_change", args=[call])).text
