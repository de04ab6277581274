"""Make .venv and install the locked requirements into it: `python3 modelfaucet/bootstrap.py [--dev]`.

Called by `make`, before anything is installed, by whatever Python the machine has. So it uses the
standard library only, and nothing newer than Python 3.6 until it has found a Python that will do.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "modelfaucet-requirements.json")
BASE, DEV = "requirements.lock", "requirements-dev.lock"


class BootstrapProblem(Exception):
    """What stands in the way, in a sentence that says how to mend it."""


def say(text: str) -> None:
    print(text, flush=True)


def switch_to_new_enough_python() -> None:
    """Run this script again under a Python that will do, where this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER:
        path = shutil.which(name)
        if path:
            os.execv(path, [path] + sys.argv)  # noqa: S606  (no shell is wanted)
    raise BootstrapProblem(
        "ModelFaucet needs Python 3.11 or newer, and this is {}.{} ({}). "
        "Install one, or name one: make PYTHON=/path/to/python3.11".format(*sys.version_info[:2], sys.executable)
    )


@contextlib.contextmanager
def one_at_a_time() -> "Iterator[None]":
    """Wait for another `make` that is installing into the same directory."""
    try:
        import fcntl
    except ImportError:  # Windows: two installations at once are not guarded against there
        yield
        return
    with open(VENV + ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Waiting for another installation into .venv to finish …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(lock: str) -> str:
    """Return the hash of what an installation depends on: the lock file and the Python that runs it."""
    with open(os.path.join(ROOT, lock), "rb") as file:
        content = file.read()
    return hashlib.sha256(content + (sys.version + os.path.realpath(sys.executable)).encode()).hexdigest()


def installed() -> "dict[str, str]":
    """Return the fingerprints of the locks that .venv was completely installed from."""
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and os.path.exists(PYTHON) else {}


def works(*command: str) -> bool:
    """Tell whether a command of .venv runs at all; its interpreter may have been upgraded away."""
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    version = "import sys; sys.exit(sys.version_info[:2] != {!r})".format(tuple(sys.version_info[:2]))
    if works(PYTHON, "-c", version) and works(PYTHON, "-m", "pip", "--version"):
        return
    if os.path.isdir(VENV):
        if not os.path.exists(os.path.join(VENV, "pyvenv.cfg")) and os.listdir(VENV):
            raise BootstrapProblem(".venv exists and is not a virtual environment. Move it away and try again.")
        say("The environment in .venv belongs to another Python or is incomplete: making it again …")
        shutil.rmtree(VENV)
    made = subprocess.run(
        [sys.executable, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        if "ensurepip" in made.stdout or "No module named" in made.stdout:
            raise BootstrapProblem(
                "This Python cannot make virtual environments. On Debian and Ubuntu: "
                "apt install python{}.{}-venv (or python3-venv), then try again.".format(*sys.version_info[:2])
            )
        raise BootstrapProblem("Making .venv failed:\n" + made.stdout.strip())


def install(lock: str) -> None:
    # The lock names everything, so pip has nothing to resolve; hashes make a changed file an error.
    command = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--requirement", os.path.join(ROOT, lock)]
    if subprocess.run(command).returncode:
        raise BootstrapProblem(
            "pip could not install " + lock + " (its words are above). It needs a network, or a mirror named in "
            "pip's own configuration, the first time and whenever a lock file changes."
        )


def bootstrap(dev: bool) -> None:
    """Install what running needs, and with `dev` what the tests need too. Does nothing where that is done."""
    lock = DEV if dev else BASE
    wanted = fingerprint(lock)
    if installed().get(lock) == wanted:
        return
    with one_at_a_time():
        if installed().get(lock) == wanted:
            return
        began = time.time()
        say("Installing Python packages into .venv (once; a minute or so) …")
        with contextlib.suppress(OSError):
            os.unlink(STAMP)
        make_venv()
        install(lock)
        # The dev lock holds every pin of the base lock (tests/test_house.py), so it serves for both.
        stamp = {name: fingerprint(name) for name in ((BASE, DEV) if dev else (BASE,))}
        with open(STAMP + ".new", "w") as file:
            json.dump(stamp, file)
        os.replace(STAMP + ".new", STAMP)
        say("Installed in %d s." % (time.time() - began))


def main() -> None:
    try:
        switch_to_new_enough_python()
        bootstrap(dev="--dev" in sys.argv[1:])
    except BootstrapProblem as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run it again to finish.")


if __name__ == "__main__":
    main()
