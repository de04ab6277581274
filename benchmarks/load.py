"""The load generator: reads one job as JSON from stdin, runs it, writes one result as JSON to stdout.

A closed loop: `connections` keep-alive connections, each sending its next request when the last answer has ended
and been checked. A wrong status, a wrong text, a stream without its end or a connection that closes counts as an
error. CPU and memory of the server under test are sampled here, at the first request after the warm-up and after
the last answer.
"""

import asyncio
import dataclasses
import gc
import json
import re
import sys
from dataclasses import dataclass, field
from time import perf_counter, process_time

import measure
import uvloop
from wire import ANSWER, STREAM_SECONDS, complete_stream, request_body, unchunk

LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
CHUNKED = re.compile(rb"(?i)transfer-encoding: *chunked")
EXPECTED = ANSWER.encode()
STREAM_END = b"\r\n0\r\n\r\n"


@dataclass
class Job:
    """One measurement. `seconds`: no request starts later; `patience`: what is unfinished then is an error."""

    port: int
    kind: str
    connections: int
    seconds: float
    headers: dict[str, str]
    path: str = "/v1/chat/completions"
    most: int = 10**9
    warm_up: int = 0
    warm_up_seconds: float = 4.0
    settle: float = 0.0  # first bytes of requests that began before this many seconds had passed are left out
    patience: float = 120.0
    server_pids: list[int] = field(default_factory=list)
    database_pids: list[int] = field(default_factory=list)


@dataclass
class Run:
    """What the connections share: the job, whether to go on, and what was measured."""

    job: Job
    request: bytes
    finished: asyncio.Event
    until: float = 0.0
    left: int = 0
    record_from: float = 0.0
    active: int = 0
    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def error(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def may_start(self) -> bool:
        if self.left > 0 and perf_counter() < self.until:
            self.left -= 1
            return True
        return False

    def stopped(self) -> None:
        self.active -= 1
        if self.active == 0:
            self.finished.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    __slots__ = ("begun", "busy", "connecting", "first", "framing_checked", "parts", "run", "transport", "whole")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.transport = None
        self.busy = self.framing_checked = False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.busy:
            self.busy = False
            self.run.error("connection closed in an answer")
            self.run.stopped()

    def start(self) -> None:
        """Send the next request, unless the job is over."""
        if not self.run.may_start():
            self.run.stopped()
            return
        if self.transport is None:  # the server let go of an idle connection, as it may
            self.connecting = asyncio.ensure_future(self.reconnect())
            return
        self.send()

    async def reconnect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.run.job.port)
        except OSError:
            self.run.error("connection refused")
            self.run.left = 0
            self.run.stopped()
        else:
            self.send()

    def send(self) -> None:
        self.parts: list[bytes] = []
        self.first = 0.0
        self.whole = -1  # length of the whole answer, once its head told; 0: chunked
        self.busy = True
        self.begun = perf_counter()
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        parts = self.parts
        parts.append(data)
        if self.whole == 0:
            if not self.first and b"data:" in data:
                self.first = perf_counter()
            if len(data) < 7:
                data = b"".join(parts[-7:])
            if data.endswith(STREAM_END):
                self.end()
        elif self.whole > 0:
            if sum(map(len, parts)) >= self.whole:
                self.end()
        else:
            self.read_head(b"".join(parts))

    def read_head(self, data: bytes) -> None:
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return
        if match := LENGTH.search(data, 0, head_end):
            self.whole = head_end + 4 + int(match[1])
            self.first = perf_counter()
            if len(data) >= self.whole:
                self.end()
        elif CHUNKED.search(data, 0, head_end):
            self.whole = 0
            if b"data:" in data:
                self.first = perf_counter()
            if data.endswith(STREAM_END):
                self.end()
        else:
            self.fail("answer without length")

    def end(self) -> None:
        now = perf_counter()
        answer = b"".join(self.parts)
        self.parts = []
        if not answer.startswith(b"HTTP/1.1 200"):
            self.fail(f"status {answer[9:12].decode(errors='replace')}")
            return
        # Chunk framing is taken apart for the first answer of a connection, and later only where it may stand in
        # the middle of a word: the text, the finish reason and the end are checked in every answer.
        if self.run.job.kind == "json":
            right = EXPECTED in answer and answer.rstrip(b"\r\n0").endswith(b"}")
        else:
            right = complete_stream(answer)
        if not (right and self.framing_checked) and not self.right_without_framing(answer):
            self.fail("wrong or truncated answer")
            return
        self.busy = False
        self.run.latencies.append(now - self.begun)
        if self.begun >= self.run.record_from:
            self.run.first_bytes.append((self.first or now) - self.begun)
        self.start()

    def right_without_framing(self, answer: bytes) -> bool:
        head_end = answer.find(b"\r\n\r\n") + 4
        body: bytes | None = answer[head_end:] if self.whole else unchunk(answer[head_end:])
        if body is None:
            return False
        self.framing_checked = True
        if self.run.job.kind == "json":
            return (self.whole in (0, len(answer))) and EXPECTED in body and body.rstrip().endswith(b"}")
        return complete_stream(body)

    def fail(self, reason: str) -> None:
        self.run.error(reason)
        self.busy = False
        if self.run.errors[reason] > 1000:
            self.run.left = 0
        self.start()


def share(values: list[float], part: float) -> float:
    """Return the value below which `part` of the sorted `values` lies, 0 when there is none."""
    return values[min(int(len(values) * part), len(values) - 1)] if values else 0.0


async def drive(run: Run, connections: list[Connection], *, seconds: float, most: int, spread: float) -> None:
    """Run the closed loop until `seconds` have passed or `most` requests were sent, and wait for the answers.

    The first requests start spread over `spread` seconds, so that paced streams do not march in step.
    """
    loop = asyncio.get_running_loop()
    run.finished.clear()
    run.until, run.left, run.active = perf_counter() + seconds, most, len(connections)
    for number, connection in enumerate(connections):
        if spread:
            loop.call_later(spread * number / len(connections), connection.start)
        else:
            connection.start()
    try:
        await asyncio.wait_for(run.finished.wait(), seconds + run.job.patience)
    except TimeoutError:
        for connection in connections:
            if connection.busy:
                connection.busy = False
                run.error("unfinished")
                if connection.transport:
                    connection.transport.abort()


async def perform(job: Job) -> dict:
    loop = asyncio.get_running_loop()
    body = request_body(job.kind)
    head = [f"POST {job.path} HTTP/1.1", f"host: 127.0.0.1:{job.port}", "content-type: application/json"]
    head += [f"{name}: {value}" for name, value in job.headers.items()] + [f"content-length: {len(body)}", "", ""]
    run = Run(job, "\r\n".join(head).encode() + body, asyncio.Event())

    connections = []
    for _ in range(job.connections):
        _, connection = await loop.create_connection(lambda: Connection(run), "127.0.0.1", job.port)
        connections.append(connection)
    if job.warm_up:
        measured, run.request = run.request, run.request.replace(b"kind=paced", b"kind=sse  ")
        await drive(run, connections, seconds=job.warm_up_seconds, most=job.warm_up, spread=0.0)
        run.request = measured
        if run.errors:
            return {"count": 0, "errors": run.errors, "failed_in_warm_up": True}
        run.latencies, run.first_bytes = [], []

    gc.collect()
    gc.freeze()
    gc.disable()  # a collection here would show up as latency of the server under test
    server, database, own = measure.sample(job.server_pids), measure.sample(job.database_pids), process_time()
    begun = perf_counter()
    run.record_from = begun + job.settle
    spread = STREAM_SECONDS if job.kind == "paced" else 0.0
    await drive(run, connections, seconds=job.seconds, most=job.most, spread=spread)
    took = perf_counter() - begun
    server_after, database_after = measure.sample(job.server_pids), measure.sample(job.database_pids)
    own_after = process_time()

    run.latencies.sort()
    run.first_bytes.sort()
    return {
        "count": len(run.latencies),
        "errors": run.errors,
        "seconds": took,
        "server_cpu": server_after.cpu - server.cpu,
        "database_cpu": database_after.cpu - database.cpu,
        "load_cpu": own_after - own,
        "rss_before": server.rss,
        "rss_after": server_after.rss,
        "p50": share(run.latencies, 0.5),
        "p99": share(run.latencies, 0.99),
        "first_p50": share(run.first_bytes, 0.5),
        "first_p99": share(run.first_bytes, 0.99),
    }


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    known = {option.name for option in dataclasses.fields(Job)}
    json.dump(uvloop.run(perform(Job(**{name: value for name, value in wanted.items() if name in known}))), sys.stdout)
