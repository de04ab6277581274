"""Changes to bridge.toml by commands: what the person wrote around them stays as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit
from filelock import FileLock
from tomlkit.items import Table

from modelfaucet_bridge import config
from modelfaucet_bridge.home import write_private

FIRST = """\
# The settings of modelfaucet-bridge. A secret is never written here, only where it is kept:
# keychain:NAME, env:NAME or file:PATH. `modelfaucet-bridge doctor` checks this file.
host = "127.0.0.1"
port = {port}
# Web pages that may call this bridge from a browser. Pages can also ask: see `modelfaucet-bridge allow`.
origins = []

[discovery]
# Looks for Ollama, LM Studio, vLLM and llama.cpp on this machine.
enabled = true

# A provider with your own key:
#   modelfaucet-bridge channels add openai --base-url https://api.openai.com/v1 --secret-ref keychain:openai
#   modelfaucet-bridge keychain set openai
"""


def edit(path: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> config.Config:
    """Change the file under a lock. Raises config.ConfigError, the file unchanged, if it would no longer be right."""
    with FileLock(f"{path}.lock"):
        config.load(path)
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        change(document)
        changed = config.parse(document.unwrap())
        write_private(path, tomlkit.dumps(document))
        return changed


def table(document: tomlkit.TOMLDocument, *names: str) -> Table:
    """Return a table of the file, made if there is none."""
    found: Any = document
    for position, name in enumerate(names):
        if name not in found:
            found.add(name, tomlkit.table(is_super_table=position < len(names) - 1))
        found = found[name]
    assert isinstance(found, Table)
    return found


def put(into: Table, values: dict[str, Any]) -> None:
    """Set what is not None."""
    for name, value in values.items():
        if value is not None:
            into[name] = value
