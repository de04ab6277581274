"""Where the bridge keeps its files: one directory that only its owner may read."""

import contextlib
import os
import tempfile
from pathlib import Path

CONFIG_FILE = "bridge.toml"
PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600


def home() -> Path:
    """Return the bridge's directory: $MODELFAUCET_BRIDGE_HOME, else ~/.modelfaucet."""
    return Path(os.environ.get("MODELFAUCET_BRIDGE_HOME") or Path.home() / ".modelfaucet").expanduser().absolute()


def private_directory(path: Path) -> Path:
    """Make a directory, and those above it in the bridge's own, that nobody else can enter."""
    path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by its owner only, and on the disk when this returns."""
    private_directory(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file changes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
