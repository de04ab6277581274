"""Stripe's form encoding: `line_items[0][price_data][currency]=usd` as nested dicts of texts."""

import re
from typing import Any
from urllib.parse import parse_qsl


def decode(encoded: str) -> dict[str, Any]:
    """Return the parameters of a form or query; the members of a list are named by their numbers."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        head, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        node, key = tree, head
        for part in rest:
            node = node.setdefault(key, {})
            key = part or str(len(node))
        node[key] = value
    return tree
