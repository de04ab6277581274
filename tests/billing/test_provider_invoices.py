"""Providers' bills: read or refused, shown before they count, and compared with our own cost."""

import io
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from apps.billing.models.reconciliation import (
    ProviderInvoice,
    ProviderInvoiceLine,
    ReconciliationItem,
    ReconciliationRun,
)
from apps.billing.services.invoice_files import Columns
from apps.billing.services.provider_invoices import (
    confirm_invoice,
    discard_invoice,
    read_invoice,
    reconcile_provider,
)
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.money import nano_from_usd, usd
from apps.usage.models import UsageEvent
from tests.gateway.api_factories import Api, make_api, settle_call
from tests.live import ACTOR, MODEL, rate_all

pytestmark = pytest.mark.django_db

HEAD = "date,model,cost\n"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PROVIDER = "double-0"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def read(text: str | bytes, columns: Columns | None = None, **more: Any) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    asked = {"provider": PROVIDER, "file_name": "bill.csv", "now": NOW, "actor": ACTOR, **more}
    return read_invoice(io.BytesIO(content), columns=columns, **asked)


def lines(invoice_id: str) -> list[tuple[str, str, int | None, str]]:
    rows = ProviderInvoiceLine.objects.filter(invoice_id=invoice_id).order_by("number")
    return [(row.day.isoformat(), row.model, row.tokens, usd(row.amount_nano)) for row in rows]


def compared(invoice_id: str) -> ReconciliationRun:
    return ReconciliationRun.objects.get(pk=reconcile_provider(invoice_id, now=NOW, actor=ACTOR))


def imported(text: str, **more: Any) -> str:
    invoice_id = read(text, **more)
    confirm_invoice(invoice_id, now=NOW, actor=ACTOR)
    return invoice_id


def found() -> list[tuple[str, str]]:
    rows = ReconciliationItem.objects.filter(resolved_at=None).order_by("reference")
    return [(row.kind, row.reference) for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "2026-05-01,gpt,1.5\n", [("2026-05-01", "gpt", None, "1.5000")]),
        ("\ufeff" + HEAD + "2026-05-01,gpt,1.5\n", [("2026-05-01", "gpt", None, "1.5000")]),
        ("Date;Model;Cost\r\n2026-05-01;gpt;1.5\r\n", [("2026-05-01", "gpt", None, "1.5000")]),
        ("date\tmodel\tcost\n2026-05-01\tgpt\t$0.02\n", [("2026-05-01", "gpt", None, "0.0200")]),
        (HEAD + '2026-05-01,"a, b",-3e-2\n', [("2026-05-01", "a, b", None, "-0.0300")]),
        (HEAD + "2026-05-01T23:30:00-02:00,gpt,1\n\n", [("2026-05-02", "gpt", None, "1.0000")]),
        (HEAD + "1777593600,gpt,1\n", [("2026-05-01", "gpt", None, "1.0000")]),
        (HEAD + "2026-05-01,gpt,0.0000000004\n", [("2026-05-01", "gpt", None, "0.0000")]),
        (
            HEAD + "2026-05-01,a,1\n2026-05-01,b,2.5\nTotal,,3.50\n",
            [("2026-05-01", "a", None, "1.0000"), ("2026-05-01", "b", None, "2.5000")],
        ),
        (
            "usage_date,model_version,Input tokens,output_tokens,Cost USD,currency\n2026-05-01,gpt,10,5.0,1,usd\n",
            [("2026-05-01", "gpt", 15, "1.0000")],
        ),
    ],
)
def test_files_as_providers_write_them(api: Api, text: str, expected: list[Any]) -> None:
    assert lines(read(text)) == expected


def test_columns_and_days_that_an_operator_names(api: Api) -> None:
    columns = Columns("Tag", "Dienst", "Betrag", ("Menge",), "%d.%m.%Y")
    made = read("Tag,Dienst,Menge,Betrag,cost\n31.05.2026,gpt,7,2,9\n", columns)
    assert lines(made) == [("2026-05-31", "gpt", 7, "2.0000")]
    assert ProviderInvoice.objects.get(pk=made).columns["amount"] == "Betrag"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "at least three columns"),
        (HEAD, "no line below"),
        ("when,what,how much\n1,2,3\n", "no column for the day"),
        ("date,model,cost,cost\n2026-05-01,a,1,1\n", "more than once"),
        (HEAD + '2026-05-01,gpt,"1,234.56"\n', "Line 2: '1,234.56' has a comma"),
        (HEAD + '2026-05-01,gpt,"1,5"\n', "thousands separators"),
        (HEAD + "2026-05-01,gpt,(5.00)\n", "not an amount"),
        (HEAD + "2026-05-01,gpt,NaN\n", "not an amount"),
        (HEAD + "2026-05-01,gpt,１\n", "not an amount"),
        (HEAD + "2026-05-01,gpt,1e30\n", "out of range"),
        (HEAD + "2026-05-01,gpt,\n", "not an amount"),
        (HEAD + "05/01/2026,gpt,1\n", "not a day"),
        (HEAD + "2026-07-01,gpt,1\n", "can have been billed"),
        (HEAD + "1999-07-01,gpt,1\n", "can have been billed"),
        (HEAD + "2026-05-01,,1\n", "a model has"),
        (HEAD + f"2026-05-01,{'x' * 201},1\n", "a model has"),
        (HEAD + "2026-05-01,gpt\n", "2 cells where the heading has 3"),
        (HEAD + "2026-05-01,gpt,1\n2026-05-01,gpt,1\n", "Line 3: the same row"),
        (HEAD + "2026-05-01,a,1\n2026-05-01,b,2\nTotal,,4\n", "Its own total is 4 USD, the lines sum to 3 USD"),
        ("date,model,cost,currency\n2026-05-01,gpt,1,EUR\n", "'EUR' is not USD"),
        ("date,model,cost,tokens\n2026-05-01,gpt,1,-5\n", "not a number of tokens"),
        (HEAD + '2026-05-01,"gpt,1\n', "not CSV"),
        (HEAD.encode() + b"2026-05-01,\xff\xfe,1\n", "not UTF-8"),
        ((HEAD + "2026-05-01,gpt,1\n").encode("utf-16"), "not UTF-8"),
        (HEAD + "2026-05-01,g\0pt,1\n", "a model has"),
        ("x" * 1_000_001, "longer than"),
    ],
)
def test_what_cannot_be_read_one_way_only_is_refused(api: Api, text: str | bytes, told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(text)
    assert refused.value.code == "invalid_invoice"
    assert told in refused.value.message
    assert not ProviderInvoice.objects.exists() and not ProviderInvoiceLine.objects.exists()


def test_several_problems_are_told_at_once(api: Api) -> None:
    with pytest.raises(BadRequest) as refused:
        read(HEAD + "".join(f"2026-05-01,m{n},x\n" for n in range(50)))
    assert refused.value.message.count("Line ") == 10


def test_a_total_that_was_given_must_be_the_sum(api: Api) -> None:
    text = HEAD + "2026-05-01,a,1.001\n2026-05-01,b,2.003\n"
    with pytest.raises(BadRequest):
        read(text, stated_total=Decimal("3.01"))
    assert read(text, stated_total=Decimal("3.00"))  # rounded to cents


def test_equal_rows_may_be_several(api: Api) -> None:
    made = read(HEAD + "2026-05-01,gpt,1\n2026-05-01,gpt,1\n", allow_repeats=True)
    assert ProviderInvoice.objects.get(pk=made).total_nano == nano_from_usd("2")


def test_a_file_counts_once(api: Api) -> None:
    text = HEAD + "2026-05-01,gpt,1\n"
    first = read(text)
    with pytest.raises(Conflict) as refused:
        read(text)
    assert refused.value.code == "invoice_known"
    discard_invoice(first, now=NOW, actor=ACTOR)
    assert not ProviderInvoiceLine.objects.exists()
    second = imported(text)
    with pytest.raises(Conflict):
        read(text)
    with pytest.raises(Conflict):
        discard_invoice(second, now=NOW, actor=ACTOR)
    with pytest.raises(Conflict):
        compared(first)


def test_the_bill_of_nobody_is_refused(api: Api) -> None:
    with pytest.raises(NotFound):
        read(HEAD + "2026-05-01,gpt,1\n", provider="nobody")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE provider_invoice_lines SET amount_nano = 0",
        "DELETE FROM provider_invoice_lines",
        "INSERT INTO provider_invoice_lines (invoice_id, number, day, model, amount_nano)"
        " SELECT id, 99, '2026-05-01', 'x', 1 FROM provider_invoices",
        "UPDATE provider_invoices SET total_nano = 0",
        "UPDATE provider_invoices SET state = 'discarded'",
    ],
)
def test_an_imported_bill_never_changes(api: Api, statement: str) -> None:
    imported(HEAD + "2026-05-01,gpt,1\n")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_many_rows_take_bounded_memory(api: Api) -> None:
    rows = [f"2026-05-{n % 28 + 1:02d},model-{n},0.001\n" for n in range(20_000)]
    content = io.BytesIO((HEAD + "".join(rows)).encode())
    del rows
    tracemalloc.start()
    try:
        made = read_invoice(content, provider=PROVIDER, file_name="big.csv", now=NOW, actor=ACTOR)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    invoice = ProviderInvoice.objects.get(pk=made)
    assert (invoice.line_count, invoice.total_nano) == (20_000, nano_from_usd("20"))
    assert peak < 20_000 * 400  # most of it the fingerprints of the rows, by which repeats are found


# ---- against our cost ----

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def calls(api: Api, count: int = 10, at: datetime = AT, **row: Any) -> int:
    """Settle calls with a cost of a dollar each, and return their cost."""
    made = [settle_call(api.world.token, at=at, **row) for _ in range(count)]
    rate_all()
    cost = sum(UsageEvent.objects.filter(request_id__in=made).values_list("cost_nano", flat=True))
    assert cost > 0
    return int(cost)


@pytest.fixture
def exact(settings: Any) -> None:
    settings.PROVIDER_TOLERANCE_NANO_USD = 0
    settings.PROVIDER_TOLERANCE_BPS = 0


def test_a_bill_that_is_our_cost_has_no_difference(api: Api, exact: None) -> None:
    cost = calls(api) + calls(api, at=AT + timedelta(hours=11, minutes=59))
    calls(api, at=AT + timedelta(days=5))  # of another day than the bill
    done = compared(imported(f"{HEAD}2026-05-01,upstream-model,{usd(cost)}\n"))
    assert (found(), done.matched, done.difference_nano) == ([], 1, 0)
    assert done.theirs_nano == done.ours_nano == cost


def test_every_kind_of_difference_and_its_likely_cause(api: Api, exact: None) -> None:
    cost = calls(api)
    abandoned = calls(api, 1, outcome="abandoned", charged=False, price_nano=0)
    estimated = calls(api, 2, estimated=True)
    calls(api, 1, served_model="ours-only")
    bill = f"2026-05-01,upstream-model,{usd(cost + estimated)}\n2026-05-01,theirs-only,4\n2026-05-02,upstream-model,5\n"
    done = compared(imported(HEAD + bill))
    assert found() == [
        ("missing_there", f"{PROVIDER} 2026-05-01 ours-only"),
        ("missing_here", f"{PROVIDER} 2026-05-01 theirs-only"),
        ("amount_differs", f"{PROVIDER} 2026-05-01 upstream-model"),
        ("missing_here", f"{PROVIDER} 2026-05-02 upstream-model"),
    ]
    assert done.difference_nano == done.explained_nano
    item = ReconciliationItem.objects.get(kind="amount_differs")
    assert (item.ours_nano or 0) - (item.theirs_nano or 0) == abandoned
    assert f"1 abandoned calls stand at their worst case, {usd(abandoned)} USD" in item.note
    assert f"2 calls were estimated here, {usd(estimated)} USD" in item.note


def test_the_catalogues_name_of_a_model_is_the_providers(api: Api, exact: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE model_offers SET upstream_model = 'gpt-as-billed'")
    cost = calls(api, served_model=MODEL)
    compared(imported(f"{HEAD}2026-05-01,gpt-as-billed,{usd(cost)}\n"))
    assert found() == []


def test_tolerances(api: Api, settings: Any) -> None:
    cost = calls(api, 100)
    apart = cost // 50  # 2 %
    bill = f"{HEAD}2026-05-01,upstream-model,{usd(cost + apart)}\n"
    settings.PROVIDER_TOLERANCE_NANO_USD, settings.PROVIDER_TOLERANCE_BPS = 0, 300
    made = imported(bill)
    compared(made)
    assert found() == []
    settings.PROVIDER_TOLERANCE_BPS = 100
    compared(made)
    assert [kind for kind, _ in found()] == ["amount_differs"]
    settings.PROVIDER_TOLERANCE_NANO_USD = apart
    done = compared(made)
    assert found() == []  # in order by a later run
    assert done.difference_nano == apart and done.explained_nano == 0


def test_a_correction_is_a_bill_of_its_own(api: Api, exact: None) -> None:
    cost = calls(api)
    compared(imported(f"{HEAD}2026-05-01,upstream-model,{usd(cost + 10**9)}\n"))
    assert len(found()) == 1
    compared(imported(f"{HEAD}2026-05-01,upstream-model,-1\n"))
    assert found() == []


def test_calls_on_others_keys_are_on_no_bill_of_ours(api: Api, exact: None) -> None:
    cost = calls(api)
    calls_on_own_key = settle_call(api.world.token, at=AT)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_events DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE usage_events SET route_mode = 'byok', cost_nano = 0 WHERE request_id = %s", [calls_on_own_key]
        )
        cursor.execute("ALTER TABLE usage_events ENABLE TRIGGER USER")
    compared(imported(f"{HEAD}2026-05-01,upstream-model,{usd(cost)}\n"))
    assert found() == []


# ---- the command and the admin ----


def test_the_command_reads_confirms_and_compares(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    day = (now() - timedelta(days=1)).date()
    path.write_text(f"{HEAD}{day},gpt,1.50\n")
    call_command("import_provider_invoice", path, provider=PROVIDER, total="1.50")
    invoice = ProviderInvoice.objects.get()
    assert (invoice.state, invoice.period_begin, invoice.file_name) == ("imported", day, "bill.csv")
    assert found() == [("missing_here", f"{PROVIDER} {day} gpt")]
    with pytest.raises(CommandError, match="read before"):
        call_command("import_provider_invoice", path, provider=PROVIDER)
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_provider_invoice", tmp_path / "none.csv", provider=PROVIDER)
    with pytest.raises(CommandError, match="takes an amount"):
        call_command("import_provider_invoice", path, provider=PROVIDER, total="x")


def upload(client: Client, text: str, **more: Any) -> Any:
    data = {"issuer": PROVIDER, "file": SimpleUploadedFile("bill.csv", text.encode(), "text/csv"), **more}
    return client.post(reverse("admin:billing_providerinvoice_add"), data, follow=True)


def test_an_operator_sees_a_bill_before_it_counts(api: Api, admin_client: Client) -> None:
    page = upload(admin_client, f"{HEAD}2026-05-01,<script>,1.50\n")
    invoice = ProviderInvoice.objects.get()
    assert invoice.state == "draft"
    assert "nothing of it counts yet" in page.text and "&lt;script&gt;" in page.text and "1.5000" in page.text
    decide = reverse("admin:billing_providerinvoice_decide", args=[invoice.pk])
    page = admin_client.post(decide, {"decision": "confirm"}, follow=True)
    assert f"{PROVIDER} 2026-05-01 &lt;script&gt;" in page.text
    invoice.refresh_from_db()
    assert (invoice.state, invoice.decided_by.startswith("user:")) == ("imported", True)
    page = upload(admin_client, f"{HEAD}2026-05-01,gpt,9\n")
    assert "Another bill has the same days" in page.text
    other = ProviderInvoice.objects.get(state="draft")
    admin_client.post(reverse("admin:billing_providerinvoice_decide", args=[other.pk]), {"decision": "discard"})
    other.refresh_from_db()
    assert other.state == "discarded"


def test_an_upload_that_is_refused_says_why(api: Api, admin_client: Client) -> None:
    page = upload(admin_client, f'{HEAD}2026-05-01,gpt,"1,234.56"\n')
    assert "thousands separators" in page.text
    assert not ProviderInvoice.objects.exists()
    assert upload(admin_client, f"{HEAD}2026-05-01,gpt,1\n", total="2").status_code == 200
    assert not ProviderInvoice.objects.exists()


def test_staff_without_the_permission_may_not_decide(api: Api, client: Client) -> None:
    made = read(HEAD + "2026-05-01,gpt,1\n")
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    decide = reverse("admin:billing_providerinvoice_decide", args=[made])
    assert client.post(decide, {"decision": "confirm"}).status_code == 403
    assert client.get(reverse("admin:billing_providerinvoice_add")).status_code == 403
    assert ProviderInvoice.objects.get().state == "draft"
    assert date(2026, 5, 1) == ProviderInvoice.objects.get().period_begin
