"""Tell a story on the ledger and write down, after each step, what it did: entries, holds, wallets."""

from pathlib import Path
from typing import Any

from apps.core.money import usd
from apps.ledger.models import Hold, LedgerTransaction, Wallet
from apps.ledger.services.verify import differences

HERE = Path(__file__).parent


class Story:
    """A story with a title and steps. Amounts are shown in USD; a credit is +, a debit −."""

    def __init__(self, title: str) -> None:
        self.lines = [title, "=" * len(title)]
        self.numbers: dict[int, int] = {}
        self.wallets: dict[int, tuple[int, int, bool]] = {}
        self.holds: dict[str, tuple[Any, ...]] = {}

    def tell(self, sentence: str, outcome: object = None) -> None:
        """Write down a step that has happened, with what came of it beyond the ledger's rows."""
        self.lines += ["", sentence + (f" → {outcome}" if outcome is not None else "")]
        before = len(self.lines)
        self._transactions()
        self._holds()
        self._wallets()
        if len(self.lines) == before:
            self.lines.append("    (nothing changes)")
        assert list(differences()) == []

    def text(self) -> str:
        return "\n".join([*self.lines, "", "No row of the ledger differs.", ""])

    def _transactions(self) -> None:
        rows = LedgerTransaction.objects.exclude(pk__in=self.numbers).prefetch_related("entries__account")
        for row in rows.order_by("pk"):
            self.numbers[row.pk] = len(self.numbers) + 1
            reverses, key = "", row.idempotency_key
            if row.reverses_id:
                original = self.numbers[row.reverses_id]
                reverses, key = f" of {original}", key.replace(f":{row.reverses_id}:", f":{original}:", 1)
            self.lines.append(f"    transaction {self.numbers[row.pk]}: {row.kind}{reverses} ({key})")
            for entry in sorted(row.entries.all(), key=lambda entry: (entry.amount, entry.pk)):
                self.lines.append(f"        {entry.account!s:<28}{_signed(entry.amount):>12}")

    def _holds(self) -> None:
        for row in Hold.objects.order_by("id"):
            now = (row.state, row.stage, row.amount, row.captured)
            if self.holds.get(row.request_id) != now:
                self.holds[row.request_id] = now
                captured = f", captured {usd(row.captured)}" if row.captured else ""
                self.lines.append(
                    f"    hold {row.request_id}: {row.state}, {row.stage}, amount {usd(row.amount)}{captured}"
                )

    def _wallets(self) -> None:
        for row in Wallet.objects.select_related("account").order_by("account__kind", "account__owner_id"):
            now = (row.posted, row.held, row.frozen_at is not None)
            if self.wallets.get(row.pk, (0, 0, False)) != now:
                self.wallets[row.pk] = now
                held = f", held {usd(row.held)}, available {usd(row.posted - row.held)}" if row.held else ""
                frozen = ", frozen" if row.frozen_at else ""
                self.lines.append(f"    wallet {row.account!s:<29}{usd(row.posted):>12}{held}{frozen}")


def _signed(nano: int) -> str:
    return f"+{usd(nano)}" if nano > 0 else usd(nano)
