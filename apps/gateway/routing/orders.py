"""The eight policies: which sources each may use and in which order it tries what is left."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from apps.gateway.routing import reasons
from apps.gateway.routing.reasons import Rejected
from apps.gateway.routing.table import CallerRoutes, Candidate
from apps.gateway.routing.target import Target
from apps.usage.rate import BYOK, DEVELOPER_KEY, LOCAL, PLATFORM

PRIVACY_FIRST = "privacy_first"
# Sources in the order in which they are tried.
SOURCES = {
    "platform_pool": (PLATFORM,),
    "developer_key_first": (DEVELOPER_KEY, PLATFORM),
    "byok_first": (BYOK, DEVELOPER_KEY, PLATFORM),
    "local_first": (LOCAL, BYOK, DEVELOPER_KEY, PLATFORM),
    PRIVACY_FIRST: (LOCAL, BYOK, DEVELOPER_KEY, PLATFORM),
}
# These compare what all sources offer.
CHEAPEST, BEST, FASTEST = "cheapest_sufficient", "quality_first", "latency_first"
POLICIES = (*SOURCES, CHEAPEST, BEST, FASTEST)
_ALL = (LOCAL, BYOK, DEVELOPER_KEY, PLATFORM)

# What `auto` looks for in a class of tasks: the best, or the cheapest of those that are good enough (0 to 1000).
GOOD_ENOUGH = {
    "summary": 700,
    "classification": 600,
    "question": 700,
    "long_context": 700,
    "writing": 850,
    "code": 850,
    "reasoning": 850,
}
WANTS_BEST = frozenset({"code", "reasoning"})


class Slot(NamedTuple):
    """A candidate in its place (step of the chain, rank of the source), there by the priorities of its `group`."""

    place: tuple[int, int]
    group: tuple[int, int]
    candidate: Candidate
    target: Target


class Compiled(NamedTuple):
    """What is left of a chain of models under a policy, in order, before the request itself is looked at.

    `tied`: some share their place, so that weights decide between them.
    """

    slots: tuple[Slot, ...]
    rejected: tuple[Rejected, ...]
    tied: bool


def sources_of(policy: str, prefer: str | None) -> tuple[str, ...]:
    """Return the route modes that a policy may use, what the user prefers first."""
    sources = SOURCES.get(policy, _ALL)
    if prefer is None:
        return sources
    return (prefer, *(mode for mode in sources if mode != prefer))


def compiled(
    routes: CallerRoutes,
    models: tuple[str, ...],
    degraded: str | None,
    *,
    one_step: bool,
    policy: str,
    prefer: str | None,
    platform: bool,
) -> Compiled:
    """Return what a caller can use of a chain of models; remembered.

    `one_step`: the models compete instead of following each other. `platform`: the platform's keys may be used.
    """
    key = models, degraded, one_step, policy, prefer, platform
    known: Compiled | None = routes.compiled.get(key)
    if known is None:
        known = routes.compiled[key] = _compile(routes, models, degraded, one_step, policy, prefer, platform)
    return known


def _compile(
    routes: CallerRoutes,
    models: tuple[str, ...],
    degraded: str | None,
    one_step: bool,
    policy: str,
    prefer: str | None,
    platform: bool,
) -> Compiled:
    sources = sources_of(policy, prefer)
    ranks = {mode: rank for rank, mode in enumerate(sources)}
    if policy not in SOURCES:
        ranks = dict.fromkeys(sources, 1)
        if prefer is not None:
            ranks[prefer] = 0
    steps = [(0 if one_step else step, model, False) for step, model in enumerate(dict.fromkeys(models))]
    if degraded is not None and degraded not in models:
        steps.append((len(steps), degraded, True))
    slots: list[Slot] = []
    rejected: list[Rejected] = []
    for step, model, last in steps:
        found = routes.found(model)
        rejected += (each for each in found.rejected if each.mode in ranks or each.mode == "any")
        for candidate in found.candidates:
            reason = _refuse(candidate, policy, platform, ranks)
            if reason is not None:
                rejected.append(Rejected(candidate.label, candidate.mode, reason))
                continue
            target = replace(candidate.target, degraded=True) if last else candidate.target
            slots.append(Slot((step, ranks[candidate.mode]), candidate.group, candidate, target))
    seen = {slot.candidate.mode for slot in slots} | {each.mode for each in rejected}
    if slots or any(each.mode != "any" for each in rejected):
        absent = [mode for mode in sources if mode not in seen and mode != LOCAL]
        rejected += (Rejected(models[0] if models else "any", mode, reasons.NO_CREDENTIAL) for mode in absent)
    slots.sort(key=lambda slot: (slot.place, slot.group, slot.candidate.mode_rank))
    orders = [slot[:2] for slot in slots]
    return Compiled(tuple(slots), tuple(dict.fromkeys(rejected)), len(set(orders)) < len(orders))


def _refuse(candidate: Candidate, policy: str, platform: bool, ranks: dict[str, int]) -> str | None:
    if candidate.mode not in ranks:
        return reasons.NOT_IN_POLICY
    if candidate.mode == PLATFORM and not platform:
        return reasons.NO_PLATFORM_FALLBACK
    if policy == PRIVACY_FIRST and candidate.offer.trains_on_data and candidate.mode != LOCAL:
        return reasons.TRAINS
    return None


class Sizes(NamedTuple):
    """What a plan compares by.

    `enough` is the quality (0 to 1000) that need not be exceeded; `latency` gives the observed seconds to the first
    byte.
    """

    prompt_tokens: int
    output_tokens: int
    task_class: str | None
    enough: int
    latency: Callable[[tuple[str, str]], float | None]


Rank = Callable[[Candidate], tuple[float, ...]]


def ranking(policy: str, sizes: Sizes, *, auto: bool) -> Rank | None:
    """Return what to sort the candidates of one step by; None where their priorities and weights decide alone."""
    if policy == FASTEST:
        return _fastest(sizes)
    if policy == BEST or (auto and policy != CHEAPEST and sizes.task_class in WANTS_BEST):
        return _best(sizes)
    return _cheapest(sizes) if auto or policy == CHEAPEST else None


def _cheapest(sizes: Sizes) -> Rank:
    prompt, output, task_class, enough, _ = sizes

    def rank(candidate: Candidate) -> tuple[float, ...]:
        lacking = enough and max(enough - (candidate.quality(task_class) or 0), 0)
        cost = candidate.cost(prompt, output)
        # Where that is the same, as with fixed prices, our own cost decides.
        ours = (cost if candidate.factor else candidate.list_price(prompt, output)) * candidate.our_part
        return lacking, cost, ours, candidate.mode_rank

    return rank


def _best(sizes: Sizes) -> Rank:
    prompt, output, task_class, _, _ = sizes

    def rank(candidate: Candidate) -> tuple[float, ...]:
        quality = candidate.quality(task_class)
        return -1 if quality is None else -quality, candidate.cost(prompt, output), candidate.mode_rank

    return rank


def _fastest(sizes: Sizes) -> Rank:
    _, _, task_class, enough, latency = sizes

    def rank(candidate: Candidate) -> tuple[float, ...]:
        lacking = enough and max(enough - (candidate.quality(task_class) or 0), 0)
        # What was never measured is tried, or it would never be.
        return lacking, latency(candidate.key) or 0.0, candidate.mode_rank

    return rank
