"""Start processes, watch them, and leave none behind, however this one ends.

A child that dies is not started again: the supervisor says which one it was, shows the end of its log
and ends with the rest. What a demo hides, nobody mends.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

LARGEST_LOG = 10_000_000
TAIL_LINES = 20
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildEnded(Exception):
    """A process ended that should not have; the message names it and shows the end of its log."""


class StopRequested(BaseException):
    """A signal asked to stop. Like KeyboardInterrupt, no handler of ordinary exceptions may swallow it."""


@dataclass(frozen=True)
class Child:
    """A running process, the file its output goes to, and the seconds it may take to end."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    patience: float

    def output(self) -> str:
        """Return what this process, not an earlier one of its name, has written so far."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def ended(self) -> ChildEnded:
        status = self.process.returncode
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        tail = "\n".join(f"  {line}" for line in self.output().splitlines()[-TAIL_LINES:])
        return ChildEnded(f"{self.name} ended {how}. The end of {self.log}:\n{tail or '  (nothing)'}")


class Supervisor:
    """A context whose processes end with it, the last started first unless they are given another order."""

    def __init__(self, *, directory: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.logs = logs
        self.environment = dict(environment)
        self.children: list[Child] = []
        self._lifeline, self._held = os.pipe()

    def __enter__(self) -> "Supervisor":
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._lifeline)
        os.close(self._held)

    def start(
        self, name: str, module: str, *arguments: str, pass_fds: Collection[int] = (), patience: float = 10
    ) -> Child:
        """Start `python -m module arguments…` with its output in a log, and return it."""
        log = self.logs / f"{name}.log"
        with self._open_log(log) as output:
            command = [sys.executable, "-m", "modelfaucet.demo.child", str(self._lifeline), module, *arguments]
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._lifeline, *pass_fds),
                start_new_session=True,  # a terminal's Ctrl-C comes here only, and the order of ending is ours
            )
            child = Child(name, process, log, output.tell(), patience)
        self.children.append(child)
        return child

    def run(self, name: str, module: str, *arguments: str) -> str:
        """Run a process to its end and return its output. Raise ChildEnded if it fails."""
        child = self.start(name, module, *arguments)
        child.process.wait()
        self.children.remove(child)
        if child.process.returncode:
            raise child.ended()
        return child.output()

    def check(self) -> None:
        """Raise ChildEnded if a process has ended."""
        for child in self.children:
            if child.process.poll() is not None:
                raise child.ended()

    def wait_until(self, ready: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Return when `ready` says so. Raise ChildEnded if a process ends first, or TimeoutError."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} took longer than {seconds:g} s. The logs are in {self.logs}.")
            time.sleep(0.05)

    def watch(self, also: Callable[[], None], *, interval: float = 0.25) -> None:
        """Look at the processes, and call `also`, until one raises."""
        while True:
            self.check()
            also()
            time.sleep(interval)

    def stop(self) -> None:
        """End every process, in the order of starting reversed, by force where it takes too long."""
        while self.children:
            child = self.children.pop()
            if child.process.poll() is None:
                child.process.terminate()
                try:
                    child.process.wait(child.patience)
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()

    @staticmethod
    def _open_log(log: Path) -> IO[bytes]:
        output = os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        if output.tell() > LARGEST_LOG:
            output.truncate(0)
            output.seek(0)
        return output


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the first signal that asks to stop into StopRequested, and ignore the rest while ending.

    In another thread than the main one, where Python allows no handlers, do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
