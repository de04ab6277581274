"""The asynchronous client; `scripts/unasync.py` makes the synchronous one of it."""
