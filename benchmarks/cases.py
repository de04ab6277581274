"""What is measured, and what was promised."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A load: `kind` as in wire.py, `connections` in flight, `seconds` in which requests start."""

    name: str
    title: str
    kind: str
    connections: int
    seconds: float


CASES = {
    case.name: case
    for case in (
        Case("json@1", "JSON, 1 in flight", "json", 1, 2.0),
        Case("json@32", "JSON, 32 in flight", "json", 32, 4.0),
        Case("json@128", "JSON, 128 in flight", "json", 128, 4.0),
        Case("sse@1", "SSE of 100 chunks, 1 in flight", "sse", 1, 2.0),
        Case("sse@32", "SSE of 100 chunks, 32 in flight", "sse", 32, 4.0),
        Case("sse@128", "SSE of 100 chunks, 128 in flight", "sse", 128, 4.0),
        Case("paced@500", "SSE of 100 chunks, one every 20 ms, 500 in flight", "paced", 500, 6.0),
        Case("paced@1000", "SSE of 100 chunks, one every 20 ms, 1,000 in flight", "paced", 1000, 6.0),
    )
}

# Needs the cost of a paced stream, so it follows paced@500 in every round.
HALF = Case("half", "First byte of a paced stream at half load", "paced", 0, 6.0)

PROBES = ("rss", "stalled", "hangup", "rating")

# (case, peer): the least that ModelFaucet's answers per CPU second may be of the peer's.
TARGETS = {
    ("json@32", "litellm"): 25.0,
    ("json@32", "portkey"): 3.0,
    ("json@32", "nginx"): 1 / 15,
    ("sse@32", "litellm"): 50.0,
    ("sse@32", "portkey"): 3.0,
    ("sse@32", "nginx"): 1 / 3,
    ("paced@500", "litellm"): 20.0,
    ("paced@500", "portkey"): 2.0,
    ("paced@500", "nginx"): 1 / 2.5,
}
FIRST_BYTE_OVER_DIRECT = 0.003  # seconds, median, at half load
WORKER_RSS = 150_000_000  # bytes
FLAT_REQUESTS = 20_000
FLAT_GROWTH = 5_000_000  # bytes over FLAT_REQUESTS; what an allocator moves without a leak
STALLED_GROWTH = 10_000_000  # bytes
HANG_UP_SECONDS = 0.3
RATING_RATE = 5_000.0  # events per second with one worker
RATED_EVENTS = 50_000
