"""Migrate, make the demo's data, and write var/demo.json: one process, between the provider and the server."""

import json
import os
from typing import Any

import django


def write_private(path: os.PathLike[str], content: dict[str, Any]) -> None:
    """Write JSON that only this user can read, whole or not at all."""
    draft = f"{os.fspath(path)}.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.replace(draft, path)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelfaucet.settings")
    django.setup()
    from django.core.management import call_command

    from apps.core.clock import now
    from modelfaucet import env
    from modelfaucet.demo.seed import seed_demo

    call_command("migrate", verbosity=0, interactive=False)
    write_private(env.VAR_DIR / "demo.json", seed_demo(now=now()))


if __name__ == "__main__":
    main()
