#!/usr/bin/env python3
"""Measure ModelFaucet beside its peers, interleaved, on this machine. `python3 benchmarks/run.py --help`."""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import faucet  # noqa: E402
import probes  # noqa: E402
import report  # noqa: E402
import subjects  # noqa: E402
from cases import CASES, FLAT_REQUESTS, HALF, PROBES, RATED_EVENTS, Case  # noqa: E402
from subjects import PYTHON, VAR, Subject, Unavailable  # noqa: E402
from wire import STREAM_SECONDS  # noqa: E402

STARTERS = {
    "direct": subjects.start_direct,
    "nginx": subjects.start_nginx,
    "litellm": subjects.start_litellm,
    "portkey": subjects.start_portkey,
    "modelfaucet": faucet.start,
}


class Bench:
    """One run: the rig, the subjects that could be started, and what was measured so far."""

    def __init__(self, options: argparse.Namespace, server_core: int, rig_core: int) -> None:
        self.options, self.server_core, self.rig_core = options, server_core, rig_core
        self.subjects: list[Subject] = []
        self.upstream: Subject
        self.rounds: list[dict[str, dict[str, dict]]] = []
        self.probes: dict[str, dict[str, dict]] = {}

    def perform(self, subject: Subject, kind: str, *, connections: int, seconds: float, **more: float) -> dict:
        """Run one job of the load generator against `subject`; see load.Job."""
        job = {
            "port": subject.port,
            "kind": kind,
            "connections": connections,
            "seconds": seconds,
            "headers": {"authorization": "Bearer sk-bench", **subject.headers},
            "server_pids": subject.pids(),
            "database_pids": subject.database_pids(),
            **more,
        }
        command = ["taskset", "-c", str(self.rig_core), str(PYTHON), str(HERE / "load.py")]
        done = subprocess.run(command, input=json.dumps(job).encode(), stdout=subprocess.PIPE)
        if done.returncode:
            return {"count": 0, "errors": {"load generator failed": 1}}
        return dict(json.loads(done.stdout))

    def measure(self, case: Case, subject: Subject) -> dict:
        seconds = case.seconds / 2 if self.options.quick else case.seconds
        warm_up = min(2 * case.connections, 256)
        return self.perform(subject, case.kind, connections=case.connections, seconds=seconds, warm_up=warm_up)

    def measure_half(self, subject: Subject, stream_cpu: float) -> dict:
        """Measure the first byte with as many paced streams as keep the server's core half busy, against direct."""
        connections = max(4, min(1000, int(0.5 * STREAM_SECONDS / stream_cpu)))
        options = {"connections": connections, "seconds": HALF.seconds, "settle": STREAM_SECONDS}
        direct = self.perform(Subject("direct", self.upstream.port), "paced", **options)
        result = self.perform(subject, "paced", **options, warm_up=min(connections, 64))
        result["connections"] = connections
        result["busy"] = result.get("server_cpu", 0.0) / result.get("seconds", 1.0)
        result["direct_first_p50"] = direct.get("first_p50", 0.0)
        result["over_direct"] = result.get("first_p50", 0.0) - direct.get("first_p50", 0.0)
        return result

    def warm(self) -> None:
        """Let just-in-time compilers and pools settle, so that the first round is like the others."""
        for subject in self.subjects:
            for kind in ("json", "sse"):
                self.perform(subject, kind, connections=32, seconds=3.0 if self.options.quick else 8.0, most=6000)

    def play_round(self) -> None:
        results: dict[str, dict[str, dict]] = {}
        self.rounds.append(results)
        number = len(self.rounds)
        for case in self.wanted_cases():
            for subject in self.subjects:
                result = self.measure(case, subject)
                results.setdefault(case.name, {})[subject.name] = result
                say(number, case.name, subject.name, result)
        if "half" in self.options.cases:
            for subject in self.subjects:
                paced = results.get("paced@500", {}).get(subject.name, {})
                if subject.name != "direct" and paced.get("count"):
                    result = self.measure_half(subject, paced["server_cpu"] / paced["count"])
                    results.setdefault("half", {})[subject.name] = result
                    say(number, "half", subject.name, result)

    def wanted_cases(self) -> list[Case]:
        return [case for name, case in CASES.items() if name in self.options.cases]

    def probe_stalled_readers(self) -> None:
        for subject in self.subjects:
            if subject.name != "direct" and "stalled" in self.options.cases:
                result = probes.stalled_reader(subject, seconds=3.0 if self.options.quick else 8.0)
                self.probes.setdefault(subject.name, {})["stalled"] = result

    def probe(self) -> None:
        for subject in self.subjects:
            if subject.name == "direct":
                continue
            own = subject.name == "modelfaucet"
            results = self.probes.setdefault(subject.name, {})
            if "rss" in self.options.cases:
                seconds = 600.0 if own else 20.0  # a peer does what it can in this time
                requests = FLAT_REQUESTS // (10 if self.options.quick else 1)
                results["rss"] = probes.rss_over(self.perform, subject, requests=requests, seconds=seconds)
            if "hangup" in self.options.cases and not own:
                results["hangup"] = probes.hang_up(subject, self.upstream.port, times=5)
            print(f"probes {subject.name}: {json.dumps(results)[:400]}", file=sys.stderr, flush=True)

    def probe_own(self, subject: Subject) -> None:
        """Probe what needs the server stopped: hang-ups on one that does not drain, then rating."""
        results = self.probes.setdefault(subject.name, {})
        events = 5_000 if self.options.quick else RATED_EVENTS
        if "rating" in self.options.cases:
            self.perform(subject, "json", connections=64, seconds=120.0, most=events + 1000)
        subjects.end(subject.process)
        if "hangup" in self.options.cases:
            # Without draining, the provider's connection ends as soon as the client is known to have left.
            token = subject.headers["authorization"].removeprefix("Bearer ")
            port, core = self.upstream.port, self.server_core
            with subjects.running(faucet.serve(port, core, token=token, env={"DRAIN_SECONDS": "0"})) as strict:
                results["hangup"] = probes.hang_up(strict, port, times=5)
        if "rating" in self.options.cases:
            command = ("taskset", "-c", self.server_core, PYTHON, HERE / "rating.py", events)
            results["rating"] = json.loads(faucet.run(self.upstream.port, *command))
            verified = faucet.run(self.upstream.port, PYTHON, subjects.PROJECT / "manage.py", "verify_ledger")
            results["rating"]["verified"] = verified.strip().splitlines()[-1]


def say(number: int, case: str, subject: str, result: dict) -> None:
    count = result.get("count", 0)
    line = f"round {number} {case:10} {subject:12} {count:7d}"
    if count:
        line += f"  {count / result['seconds']:8.0f}/s  {result['server_cpu'] / count * 1e6:8.0f} us"
        line += f"  p50 {result['p50'] * 1e3:8.2f} ms  p99 {result['p99'] * 1e3:8.2f} ms"
        line += f"  first {result['first_p50'] * 1e3:7.2f} ms"
    print(line, result["errors"] or "", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1_000_000
    node = (
        subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True).stdout if shutil.which("node") else ""
    )
    return {
        "cpu": f"{names[0].partition(':')[2].strip() if names else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": node.strip().lstrip("v"),
    }


def medians(rounds: list[dict[str, dict[str, dict]]]) -> dict[str, dict[str, dict]]:
    """Return per case and subject the median over the rounds of every number, and all errors together."""
    together: dict[str, dict[str, dict]] = {}
    for case in {name: None for results in rounds for name in results}:
        for subject in {name: None for results in rounds for name in results.get(case, {})}:
            results = [results[case][subject] for results in rounds if subject in results.get(case, {})]
            good = [result for result in results if result.get("count")]
            numbers: dict = {}
            for result in good:
                count = result["count"]
                result["rate"] = count / result["seconds"]
                result["cpu_per_request"] = result["server_cpu"] / count
                result["database_cpu_per_request"] = result["database_cpu"] / count
                result["per_cpu_second"] = count / result["server_cpu"] if result["server_cpu"] else 0.0
            for key in good[0] if good else ():
                if isinstance(good[0][key], (int, float)):
                    numbers[key] = statistics.median(result[key] for result in good)
            errors: dict[str, int] = {}
            for result in results:
                for reason, times in result["errors"].items():
                    errors[reason] = errors.get(reason, 0) + times
            together.setdefault(case, {})[subject] = {**numbers, "errors": errors, "rounds": len(good)}
    return together


def parse(arguments: list[str]) -> argparse.Namespace:
    every = [*CASES, "half", *PROBES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default=",".join(STARTERS), help=f"subjects, separated by commas: {', '.join(STARTERS)}"
    )
    parser.add_argument("--cases", default=",".join(every), help=f"cases, separated by commas: {', '.join(every)}")
    parser.add_argument("--rounds", type=int, default=0, help="rounds over all cases and subjects (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md after a partial run too")
    options = parser.parse_args(arguments)
    options.only, options.cases = options.only.split(","), options.cases.split(",")
    for given, known in ((options.only, list(STARTERS)), (options.cases, every)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    options.whole = not options.quick and set(options.only) == set(STARTERS) and set(options.cases) == set(every)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("Two cores are needed: one for the server under test, one for the load.", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, set(cores[1:]))  # the server's core is the server's
    VAR.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, server_core=cores[0], rig_core=cores[1])
    missing: dict[str, str] = {}
    began = datetime.datetime.now(datetime.UTC)
    with contextlib.ExitStack() as stack:
        bench.upstream = stack.enter_context(subjects.running(subjects.start_upstream(bench.rig_core)))
        for name in [name for name in STARTERS if name in options.only]:
            try:
                subject = STARTERS[name](bench.upstream.port, bench.server_core)
            except Unavailable as problem:
                missing[name] = str(problem)
                print(f"{name} is left out: {problem}", file=sys.stderr)
            else:
                bench.subjects.append(stack.enter_context(subjects.running(subject)))
        bench.probe_stalled_readers()
        bench.warm()
        for _ in range(options.rounds):
            if bench.wanted_cases():
                bench.play_round()
        bench.probe()
        for subject in bench.subjects:
            if subject.name == "modelfaucet":
                bench.probe_own(subject)

    outcome = {
        "began_at": began.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {subject.name: subject.version for subject in bench.subjects if subject.version},
        "database": faucet.described(),
        "missing": missing,
        "rounds_played": len(bench.rounds),
        "medians": medians(bench.rounds),
        "probes": bench.probes,
        "rounds": bench.rounds,
    }
    for path in (VAR / f"{began:%Y%m%dT%H%M%SZ}.json", VAR / "latest.json"):
        path.write_text(json.dumps(outcome, indent=1))
    page = report.page(outcome)
    (VAR / "latest.md").write_text(page)
    if (options.whole and not missing) or options.write_docs:
        report.DOCUMENT.write_text(page)
    print(page)
    return 1 if report.missed(outcome) else 0


if __name__ == "__main__":
    if Path(sys.prefix) != PYTHON.parent.parent:
        if not PYTHON.exists():  # the rig needs uvloop, and ModelFaucet needs everything
            subprocess.run([sys.executable, str(subjects.PROJECT / "modelfaucet" / "bootstrap.py")], check=True)
        os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606 (the project's own interpreter)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    raise SystemExit(main(sys.argv[1:]))
