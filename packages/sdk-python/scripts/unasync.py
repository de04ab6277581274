"""Make the synchronous client of the asynchronous one: `python scripts/unasync.py`, or `--check` in tests."""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "modelfaucet_sdk"
HEAD = "# Made from {} by scripts/unasync.py: change that one.\n"
# In this order; each is a whole word unless it says otherwise.
WORDS = (
    (r"async (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[([^\[\]]*(?:\[[^\[\]]*\])?[^\[\]]*)\]", r"\1"),
    (r", Awaitable\b|\bAwaitable, ", ""),
    (r"\bAsync(\w+)", r"\1"),
    (r"\basync_(resolve|sleep)\b", r"\1"),
    (r"\b_async\b", "_sync"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\banext\(", "next("),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r'\bThe asynchronous client; [^"]*', "The synchronous client, made of the asynchronous one."),
)


def without_async(source: str) -> str:
    """Return the synchronous form of a module."""
    for pattern, into in WORDS:
        source = re.sub(pattern, into, source)
    return source


def main() -> int:
    """Write the synchronous modules, or tell which are not as they would be written."""
    import subprocess

    check = "--check" in sys.argv
    stale = []
    for path in sorted((PACKAGE / "_async").glob("*.py")):
        made = HEAD.format(f"_async/{path.name}") + without_async(path.read_text(encoding="utf-8"))
        command = [sys.executable, "-m", "ruff"]
        for step in (
            ["check", "--select", "I,F401,UP028", "--fix", "--unsafe-fixes", "-q", "--exit-zero"],
            ["format", "-q"],
        ):
            run = subprocess.run(  # noqa: S603 (ruff of this environment, on our own text)
                [*command, *step, "--stdin-filename", str(PACKAGE / "_sync" / path.name), "-"],
                input=made,
                capture_output=True,
                text=True,
                check=True,
            )
            made = run.stdout
        target = PACKAGE / "_sync" / path.name
        if check:
            if not target.exists() or target.read_text(encoding="utf-8") != made:
                stale.append(path.name)
        else:
            target.parent.mkdir(exist_ok=True)
            target.write_text(made, encoding="utf-8")
    for name in stale:
        print(f"_sync/{name} is not what _async/{name} makes: run scripts/unasync.py")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
