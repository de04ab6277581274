"""What two manifests have in common and what not, and which models one names. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from apps.features.manifest import HASHED_NGRAMS, decode


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what differs, as `{path, before, after}` in the order of paths; None stands for a default.

    Both are contents as stored: what is not a default. Arrays differ as a whole.
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        {"path": path, "before": old.get(path), "after": new.get(path)}
        for path in sorted(old.keys() | new.keys())
        if path not in old or path not in new or old[path] != new[path]
    ]


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, member in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(member, dict) and member:
            yield from _leaves(member, where)
        else:
            yield where, member


def models_named(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the models that a manifest names, each once, in the order of its parts.

    `auto` and the built-in embedding are none.
    """
    manifest = decode(json.dumps(content))
    routing = manifest.routing
    named = [
        *(manifest.models.allow or ()),
        manifest.models.default,
        *routing.fallback_models,
        routing.degraded_model,
        *(model for rule in routing.rules for model in rule.use),
        *routing.models_for.values(),
        manifest.cache.embedding_model,
    ]
    return tuple(dict.fromkeys(name for name in named if name is not None and name not in ("auto", HASHED_NGRAMS)))
