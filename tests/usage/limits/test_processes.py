"""Two processes and one Redis: together they let through what the limit says, not a call more."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("kind", "limit"), [("rpm", 10), ("concurrency", 10)])
def test_two_processes_let_through_the_limit_together(redis_url: str, kind: str, limit: int) -> None:
    prefix = f"test:{{{secrets.token_hex(8)}}}"
    command = [sys.executable, "-m", "tests.usage.limits.load", redis_url, prefix, kind, str(limit), "50"]
    pipe = subprocess.PIPE
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "modelfaucet.settings"}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(2)
    ]
    passed = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            count, uncounted = map(int, process.stdout.readline().split())
            assert uncounted == 0
            passed.append(count)
    finally:
        for process in processes:
            process.communicate("", timeout=20)
    assert sum(passed) == limit
    assert [process.returncode for process in processes] == [0, 0]
