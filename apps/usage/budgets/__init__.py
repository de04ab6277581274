"""Budgets: money per period, reserved before a call as a wallet is (docs/decisions/0013-budgets.md)."""
