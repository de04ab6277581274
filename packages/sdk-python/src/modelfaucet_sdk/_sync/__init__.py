# Made from _async/__init__.py by scripts/unasync.py: change that one.
"""The synchronous client, made of the asynchronous one."""
