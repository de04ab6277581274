"""The results as a page: promises first, then every number they were made of."""

from collections.abc import Iterator
from dataclasses import dataclass

import cases
from subjects import PROJECT

DOCUMENT = PROJECT / "docs" / "benchmarks.md"
NAMES = {
    "direct": "direct",
    "nginx": "nginx",
    "litellm": "LiteLLM",
    "portkey": "Portkey",
    "modelfaucet": "ModelFaucet",
}
OWN = "modelfaucet"

METHOD = """\
`make bench` (or `python3 benchmarks/run.py`) makes this page. It installs the peers at the versions pinned in
`benchmarks/peers/`, each into an environment of its own, starts everything on loopback and measures all of them
**interleaved in one run**: every round goes over all cases, and every case over all subjects, so that a noisy
minute hits them alike. A number is the median over the rounds.

- The server under test has one core to itself, with a single worker; the load generator and the fake provider
  share the other, and so do the backends of PostgreSQL; what those use is counted apart, in a column of its own.
- The fake provider answers with bytes made beforehand: 0.6 kB of JSON, or 100 events of 0.2 kB. A stream that is
  not paced leaves in one write; a paced one sends an event every 20 ms.
- The load generator is a closed loop over keep-alive connections. It checks every answer: status, text, all words
  of a stream, finish reason and `[DONE]`. Anything else counts as an error.
- CPU is user and system time of the server's processes from their CPU clocks, without idle peers and without the
  rig. *Per CPU second* is what one core fully used would do; requests per second are what was seen, and where the
  subject is faster than the rig, they are the rig's.
- *direct* is the rig without anything in between.

Each peer runs as lean as it can:

- **nginx** passes through: one worker, keep-alive to the provider, no buffering, no logs.
- **LiteLLM** has no database, no cache, no callbacks, no retries and no master key, so it authenticates nobody
  and stores nothing. (With a master key a request costs about 0.5 ms more. Without its streaming log, or under
  granian, it was not faster.)
- **Portkey** is stateless: `--headless`, `NODE_ENV=production`, the provider and its address in headers. Its
  package takes a newer `@hono/node-server` than its own lock file, with which streams fail
  (Portkey-AI/gateway#1389); the pinned one is the lock file's.
- **ModelFaucet** does all of its accounting: the session is authenticated, policy and price are looked up, the
  worst case is held on the wallet, and the last byte leaves after the usage event is durable. Rating runs apart
  and is measured apart.
"""


@dataclass(frozen=True)
class Check:
    """A promise and what was measured; `met` is None where it was not."""

    what: str
    target: str
    measured: str
    met: bool | None


def ratio(value: float) -> str:
    if value >= 10:
        return f"{value:.0f} ×"
    return f"{value:.2g} ×" if value >= 1 else f"1/{1 / value:.3g}" if value else "0"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}" if seconds else "–"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}" if seconds < 10 else f"{seconds * 1e3:,.0f}"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.0f}"


def checks(outcome: dict) -> Iterator[Check]:
    """Yield every promise of the project's goal, measured or not."""
    medians, own = outcome["medians"], outcome["probes"].get(OWN, {})
    for (case, peer), least in cases.TARGETS.items():
        results = medians.get(case, {})
        ours = results.get(OWN, {}).get("per_cpu_second", 0.0)
        theirs = results.get(peer, {}).get("per_cpu_second", 0.0)
        measured = ours / theirs if ours and theirs else None
        yield Check(
            f"{cases.CASES[case].title}: answers per CPU second against {NAMES[peer]}",
            f"≥ {ratio(least)}",
            "–" if measured is None else ratio(measured),
            None if measured is None else measured >= least,
        )
    over = medians.get("half", {}).get(OWN, {}).get("over_direct")
    yield _at_most(
        "First byte of a stream at half load, over direct, median", over, cases.FIRST_BYTE_OVER_DIRECT, 1e3, "ms", 2
    )
    rss = own.get("rss", {})
    worker = max((result.get("rss_after", 0) for case in medians.values() if (result := case.get(OWN))), default=0)
    worker = max(worker, rss.get("rss_last", 0)) or None
    yield _at_most("Memory of the worker under any of the loads", worker, cases.WORKER_RSS, 1e-6, "MB", 0)
    yield _at_most(
        f"Growth of its memory over {rss.get('requests') or cases.FLAT_REQUESTS:,} requests",
        rss.get("growth"),
        cases.FLAT_GROWTH,
        1e-6,
        "MB",
        1,
    )
    stalled = own.get("stalled", {})
    yield _at_most(
        "Growth of its memory for a reader that stalls",
        stalled.get("growth") if stalled.get("answered") else None,
        cases.STALLED_GROWTH,
        1e-6,
        "MB",
        1,
    )
    hang_up = own.get("hangup", {})
    all_ended = hang_up.get("aborted") == hang_up.get("times")
    yield (
        _at_most(
            "Client hangs up: until the provider's connection ends (draining off)",
            hang_up.get("most") if all_ended else float("inf"),
            cases.HANG_UP_SECONDS,
            1e3,
            "ms",
            0,
        )
        if hang_up
        else Check("Client hangs up: until the provider's connection ends", "≤ 300 ms", "–", None)
    )
    rate = own.get("rating", {}).get("rate")
    yield Check(
        "Rating and posting with one worker",
        f"≥ {cases.RATING_RATE:,.0f} events/s",
        "–" if rate is None else f"{rate:,.0f} events/s",
        None if rate is None else rate >= cases.RATING_RATE,
    )


def _at_most(what: str, value: float | None, limit: float, factor: float, unit: str, digits: int) -> Check:
    target = f"≤ {limit * factor:,.0f} {unit}"
    if value is None:
        return Check(what, target, "–", None)
    return Check(what, target, f"{value * factor:,.{digits}f} {unit}", value <= limit)


def missed(outcome: dict) -> list[Check]:
    return [check for check in checks(outcome) if check.met is False]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def case_table(results: dict[str, dict], *, streams: bool) -> str:
    head = ["", "per second", "CPU µs", "per CPU second", "p50 ms", "p99 ms"]
    head += ["first byte over direct, p50 ms"] if streams else []
    head += ["memory MB", "PostgreSQL CPU µs", "errors"]
    rows = []
    direct_first = results.get("direct", {}).get("first_p50", 0.0)
    for subject, result in results.items():
        errors = sum(result["errors"].values())
        if not result.get("count"):
            rows.append([NAMES[subject], *["–"] * (len(head) - 2), str(errors)])
            continue
        rate = result["per_cpu_second"]
        row = [NAMES[subject], f"{result['rate']:,.0f}", microseconds(result["cpu_per_request"])]
        row += [f"{rate:,.0f}" if rate else "–", milliseconds(result["p50"]), milliseconds(result["p99"])]
        if streams:
            row.append("–" if subject == "direct" else milliseconds(result["first_p50"] - direct_first))
        row += [megabytes(result["rss_after"]) if result["rss_after"] else "–"]
        row += [microseconds(result["database_cpu_per_request"]), str(errors)]
        rows.append(row)
    return table(head, rows)


def half_table(results: dict[str, dict]) -> str:
    head = ["", "in flight", "core busy", "first byte p50 ms", "direct p50 ms", "over direct ms", "errors"]
    rows = [
        [
            NAMES[subject],
            f"{result['connections']:,.0f}",
            f"{result['busy']:.0%}",
            milliseconds(result["first_p50"]),
            milliseconds(result["direct_first_p50"]),
            milliseconds(result["over_direct"]),
            str(sum(result["errors"].values())),
        ]
        for subject, result in results.items()
        if result.get("count")
    ]
    return table(head, rows)


def probe_table(probes: dict[str, dict[str, dict]]) -> str:
    head = ["", "requests", "memory then MB", "growth MB", "stalled reader MB", "hang-up ms", "of"]
    rows = []
    for subject, results in probes.items():
        rss, stalled, hang_up = (results.get(name, {}) for name in ("rss", "stalled", "hangup"))
        most = hang_up.get("most")
        rows.append(
            [
                NAMES[subject],
                f"{rss['requests']:,}" if rss else "–",
                megabytes(rss["rss_last"]) if rss else "–",
                f"{rss['growth'] / 1e6:.1f}" if rss else "–",
                f"{stalled['growth'] / 1e6:.1f}" if stalled.get("answered") else "–",
                "–" if most is None else f"{most * 1e3:.0f}",
                f"{hang_up['aborted']} of {hang_up['times']}" if hang_up else "–",
            ]
        )
    return table(head, rows)


def page(outcome: dict) -> str:
    """Return the whole document as Markdown."""
    machine, versions = outcome["machine"], outcome["versions"]
    marks = {True: "met", False: "**missed**", None: "not measured"}
    parts = [
        "# Benchmarks",
        "<!-- Made by benchmarks/run.py: change it there. -->",
        f"Measured on {outcome['began_at'][:10]}, {outcome['rounds_played']} rounds, on {machine['cpu']}, "
        f"{machine['memory']}, {machine['system']}, Python {machine['python']}, Node {machine['node']}.",
        "Versions: " + ", ".join(f"{NAMES[name]} {version}" for name, version in versions.items()) + ".",
    ]
    if outcome["database"]:
        parts.append(outcome["database"] + ".")
    for name, reason in outcome["missing"].items():
        parts.append(f"{NAMES[name]} is missing: {reason}")
    parts += [
        "## Promises",
        table(
            ["", "target", "measured", ""],
            [[check.what, check.target, check.measured, marks[check.met]] for check in checks(outcome)],
        ),
        "## How it is measured",
        METHOD,
        "## Loads",
    ]
    for name, results in outcome["medians"].items():
        if name in cases.CASES:
            parts += [f"### {cases.CASES[name].title}", case_table(results, streams=cases.CASES[name].kind != "json")]
    if half := outcome["medians"].get("half"):
        parts += [
            f"### {cases.HALF.title}",
            "As many paced streams in flight as keep the subject's core half busy, by its own cost of a stream "
            "(at most 1,000); direct was measured with the same number.",
            half_table(half),
        ]
    shown = {subject: results for subject, results in outcome["probes"].items() if results}
    if shown:
        parts += [
            "## Memory and clients that leave",
            "Memory over a number of requests (JSON and streams in turn, 32 in flight; a slow peer makes as many as it "
            "can in 20 s); growth while a client does not read a stream of 400 MB; time from a client's leaving until "
            "the connection to the provider ends (slowest of the tries; ModelFaucet with `DRAIN_SECONDS=0`, because "
            "it otherwise reads on for a while to learn the usage).",
            probe_table(shown),
        ]
    if rating := outcome["probes"].get(OWN, {}).get("rating"):
        parts += [
            "## Rating",
            f"{rating['events']:,} usage events in batches of {rating['batch']}, one worker: "
            f"{rating['rate']:,.0f} events/s, {rating['cpu_per_event'] * 1e6:.0f} µs of the worker's CPU each, "
            f"{rating['set_aside']} set aside. Afterwards: {rating['verified']}",
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
