"""What a load does not show: memory that grows, readers that stall, clients that leave."""

import contextlib
import socket
import time
from collections.abc import Callable

import measure
from subjects import Subject, upstream_stats
from wire import request_body


def _open(subject: Subject, kind: str, *, receive_buffer: int = 0) -> socket.socket:
    body = request_body(kind)
    lines = ["POST /v1/chat/completions HTTP/1.1", f"host: 127.0.0.1:{subject.port}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in subject.headers.items()] + [f"content-length: {len(body)}", "", ""]
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", subject.port))
    client.sendall("\r\n".join(lines).encode() + body)
    return client


def stalled_reader(subject: Subject, *, seconds: float) -> dict:
    """Open a stream of hundreds of megabytes, read its beginning, then nothing; return the growth of memory.

    On a server that has seen little load: what a heap has room for after a heavy one would hide the growth.
    """
    for _ in range(20):
        with contextlib.closing(_open(subject, "json")) as client:
            client.recv(65_536)
    pids = subject.pids()
    before = most = measure.sample(pids).rss
    with contextlib.closing(_open(subject, "huge", receive_buffer=65_536)) as client:
        begun = client.recv(4096).startswith(b"HTTP/1.1 200")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            most = max(most, measure.sample(pids).rss)
            time.sleep(0.05)
    return {"answered": begun, "rss_before": before, "growth": most - before, "seconds": seconds}


def hang_up(subject: Subject, upstream_port: int, *, times: int) -> dict:
    """Leave in the middle of a paced stream; return the seconds until the provider's connection ended, sorted."""
    waits: list[float | None] = []
    for _ in range(times):
        aborted = upstream_stats(upstream_port)["aborted_streams"]
        client = _open(subject, "paced")
        client.recv(4096)
        time.sleep(0.3)
        client.close()
        left_at = time.perf_counter()
        waits.append(None)
        while time.perf_counter() < left_at + 8:
            stats = upstream_stats(upstream_port)
            if stats["aborted_streams"] > aborted:
                waits[-1] = max(0.0, stats["last_abort_at"] - left_at)
                break
            if not stats["open_streams"]:
                break  # it ended by itself: the provider was read to the end
            time.sleep(0.01)
    ended = sorted(wait for wait in waits if wait is not None)
    return {"times": times, "aborted": len(ended), "seconds": ended, "most": ended[-1] if ended else None}


def rss_over(perform: Callable[..., dict], subject: Subject, *, requests: int, seconds: float) -> dict:
    """Make `requests` calls, JSON and streams in turn, and return memory after the first tenth and after the last."""
    tenth = requests // 10
    samples = []
    for part in range(10):
        kind = "sse" if part % 2 else "json"
        result = perform(subject, kind, connections=32, seconds=seconds / 10, most=tenth)
        samples.append({"requests": result["count"], "errors": result["errors"], "rss": result.get("rss_after", 0)})
    settled = samples[1]["rss"]  # one part of each kind has passed
    return {
        "requests": sum(sample["requests"] for sample in samples),
        "rss_settled": settled,
        "rss_last": samples[-1]["rss"],
        "growth": samples[-1]["rss"] - settled,
        "samples": samples,
    }
