"""What must hold of the money, whatever happened."""

from django.db.models import Sum

from apps.ledger.models import Hold, LedgerEntry, Wallet
from tests.live import Server, differences, rate_all, wait_until


def prove(server: Server) -> None:
    """Wait for the calls in flight, rate what is unrated, and assert that all rows of money agree."""
    runtime = server.gateway._runtime
    assert runtime is not None
    wait_until(lambda: not runtime.live, 5)
    rate_all()
    assert differences() == []
    assert (LedgerEntry.objects.aggregate(total=Sum("amount"))["total"] or 0) == 0
    assert (Wallet.objects.aggregate(total=Sum("posted"))["total"] or 0) == 0
    assert list(Hold.objects.filter(state="open").values_list("request_id", "stage")) == []
