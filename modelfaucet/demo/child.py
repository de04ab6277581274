"""Run a module in a process that ends when its supervisor does: `python -m modelfaucet.demo.child FD MODULE …`.

FD is the reading end of a pipe whose other end only the supervisor holds. It becomes readable when the
supervisor is gone, even by `kill -9`, on every system that has pipes.
"""

import os
import runpy
import signal
import sys
import threading
import time

# Longer than any child's own graceful ending.
GRACE_SECONDS = 30.0


def watch(lifeline: int) -> None:
    """End this process when nobody holds the other end of `lifeline`: kindly at first, then by force."""
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    lifeline, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=watch, args=(lifeline,), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
