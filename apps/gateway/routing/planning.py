"""Plan a call: the ordered targets and why each other candidate was rejected.

Pure: a function of the caller's routes, the wish, the health seen just now and a source of random numbers. A plan for
20 candidates takes less than 50 µs.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from apps.core.errors import BadRequest, Forbidden, NotFound
from apps.features.manifest import Rule
from apps.gateway.health import HealthView
from apps.gateway.routing import reasons
from apps.gateway.routing.decision import Decision
from apps.gateway.routing.orders import GOOD_ENOUGH, PRIVACY_FIRST, SOURCES, Compiled, Sizes, Slot, compiled, ranking
from apps.gateway.routing.reasons import Rejected
from apps.gateway.routing.sieve import Sieve, room_of
from apps.gateway.routing.table import CallerRoutes, Candidate, Plain
from apps.gateway.routing.target import Target, label_of
from apps.gateway.routing.wish import AUTO, Wish
from apps.usage.rate import LOCAL

# So many of `auto`'s choices are tried: each further one could make the hold larger.
AUTO_TARGETS = 4
PLATFORM_POOL = "platform_pool"
LOCAL_ONLY = "local_only"
UNBOUNDED = float("inf")


class _Course(NamedTuple):
    """What manifest, rules and wish come to: `models` follow each other, or compete where `auto`."""

    asked: str
    models: tuple[str, ...]
    auto: bool
    policy: str
    platform: bool
    task_class: str | None
    rule: int | None


class _Picked(NamedTuple):
    """Targets, the other candidates, and up to which room the same would be picked again; None: never for sure."""

    targets: tuple[Target, ...]
    rejected: tuple[Rejected, ...]
    window: float | None


def plan(routes: CallerRoutes, wish: Wish, health: HealthView, *, rng: Random) -> Decision:
    """Return the targets of a call in the order in which they are tried.

    Raises BadRequest (missing_parameter, unpriced_model, capability_missing, context_length_exceeded, quality_floor),
    InsufficientFunds (max_price_exceeded, fee_unpaid), Forbidden (model_not_allowed, fee_not_acknowledged,
    provider_terms), NotFound (model_not_found) and Unavailable (no_route_available, local_bridge_unavailable):
    nothing was spent.
    """
    plain = wish.is_plain and not health.down and not health.disabled
    if plain:
        known = routes.plain.get((wish.model, wish.needs))
        if known is not None and room_of(routes.principal, wish) <= known.window:
            return known.decision
    manifest = routes.principal.manifest
    asked = _asked(routes, wish)
    if wish.local_only or manifest.privacy.mode == LOCAL_ONLY:
        return _plan_local(routes, wish, health, asked)
    course = _course(routes, wish, asked)
    picked = _pick(routes, wish, health, course, rng)
    redact = course.policy == PRIVACY_FIRST or manifest.privacy.mode == "redact_before_cloud"
    decision = Decision(
        requested=asked,
        model=picked.targets[0].offer.model,
        targets=picked.targets,
        rejected=picked.rejected,
        policy=course.policy,
        task_class=course.task_class,
        rule=course.rule,
        redact=redact and any(target.mode != LOCAL for target in picked.targets),
    )
    if plain and picked.window is not None and not manifest.routing.rules and routes.max_price is None:
        routes.plain[wish.model, wish.needs] = Plain(decision, picked.window)
    return decision


def _asked(routes: CallerRoutes, wish: Wish) -> str:
    principal = routes.principal
    name = wish.model or principal.default_model
    if not name:
        raise BadRequest("'model' is required.", code="missing_parameter", param="model")
    if name == AUTO:
        return name
    if principal.models and name not in principal.models:
        raise Forbidden(f"The model '{name}' is not allowed here.", code="model_not_allowed", param="model")
    if name not in routes.table.offers and not wish.local:
        raise NotFound(f"The model '{name}' does not exist here.", code="model_not_found", param="model")
    return name


def _course(routes: CallerRoutes, wish: Wish, asked: str) -> _Course:
    routing = routes.principal.manifest.routing
    number, rule, task_class = _rule(routes, wish)
    bound = rule.policy if rule is not None and rule.policy is not None else routing.policy
    # What a developer promises about privacy, no request takes back.
    free = wish.policy is not None and bound != PRIVACY_FIRST and (rule is None or rule.policy is None)
    policy = wish.policy if free and wish.policy is not None else bound
    auto = False
    if rule is not None and rule.use:
        models = rule.use
    elif asked != AUTO:
        models = (asked,)
    else:
        task_class = wish.task_class
        chosen = routing.models_for.get(task_class)  # type: ignore[call-overload]
        auto = chosen is None
        models = routes.allowed if chosen is None else (chosen,)
    platform = routing.platform_fallback or bound == PLATFORM_POOL
    return _Course(asked, models, auto, policy, platform, task_class, number)


def _rule(routes: CallerRoutes, wish: Wish) -> tuple[int | None, Rule | None, str | None]:
    """Return the first rule that holds with its position, and the class of the task if a rule asked for it."""
    principal = routes.principal
    task_class: str | None = None
    for number, rule in enumerate(principal.manifest.routing.rules):
        if rule.when.task_class is not None:
            task_class = wish.task_class
        if rule.when.matches(
            task_class=task_class,
            chars=len(wish.prompt.text),
            assurance=principal.assurance,
            stream=wish.stream,
            hour=wish.hour,
        ):
            return number, rule, task_class
    return None, None, task_class


def _pick(routes: CallerRoutes, wish: Wish, health: HealthView, course: _Course, rng: Random) -> _Picked:
    routing = routes.principal.manifest.routing
    then = routing.fallback_models
    chain = () if course.auto else course.models
    parts: list[tuple[Compiled, bool]] = []
    if course.auto:
        parts.append((_compiled(routes, wish, course, course.models, None, one_step=True), True))
    if chain or then or routing.degraded_model:
        parts.append(
            (_compiled(routes, wish, course, (*chain, *then), routing.degraded_model, one_step=False), not course.auto)
        )
    sieve = Sieve(routes, wish, health, course.task_class)
    floor = sieve.floor
    enough = 0 if floor or not course.auto or course.task_class is None else GOOD_ENOUGH.get(course.task_class, 0)
    slots: list[Slot] = []
    settled = not course.auto
    for part, first in parts:
        given = (*_local(routes, wish, course, sieve), *part.slots) if first else part.slots
        sieve.rejected += part.rejected
        usable = sieve.sift(given)
        if len(usable) > 1:
            sizes = Sizes(sieve.prompt_tokens, sieve.output_tokens, course.task_class, enough, health.latency.get)
            rank = ranking(course.policy, sizes, auto=course.auto and first)
            settled = settled and rank is None and not part.tied
            if rank is not None:
                usable = _sorted(usable, [rank(slot.candidate) for slot in usable], rng)
            elif part.tied or (first and wish.local):
                usable = _sorted(usable, [()] * len(usable), rng)
        if course.auto and first:
            sieve.reject(usable[AUTO_TARGETS:], reasons.RANKED_LOWER)
            del usable[AUTO_TARGETS:]
        slots += usable
    if course.policy == PRIVACY_FIRST and any(slot.candidate.mode == LOCAL for slot in slots):
        sieve.reject([slot for slot in slots if slot.candidate.mode != LOCAL], reasons.LOCAL_PREFERRED)
        slots = [slot for slot in slots if slot.candidate.mode == LOCAL]
    if not slots:
        slots = sieve.last_resort()
    if not slots:
        raise reasons.no_route(course.asked, sieve.rejected)
    targets = tuple(slot.target for slot in slots)
    if course.auto and len(parts) > 1:
        # A fallback that `auto` has chosen already is not tried twice.
        once: dict[tuple[int, str], Target] = {}
        for target in targets:
            once.setdefault((target.offer.id, target.credential.id), target)
        targets = tuple(once.values())
    return _Picked(targets, tuple(dict.fromkeys(sieve.rejected)), _narrowest(parts, sieve) if settled else None)


def _narrowest(parts: Sequence[tuple[Compiled, bool]], sieve: Sieve) -> float | None:
    """Return the smallest context window of all candidates, None where one of them is too small already."""
    windows = [slot.candidate.window or UNBOUNDED for part, _ in parts for slot in part.slots]
    narrowest = min(windows, default=UNBOUNDED)
    return None if sieve.room > narrowest else narrowest


def _compiled(
    routes: CallerRoutes, wish: Wish, course: _Course, models: tuple[str, ...], degraded: str | None, *, one_step: bool
) -> Compiled:
    return compiled(
        routes,
        models,
        degraded,
        one_step=one_step,
        policy=course.policy,
        prefer=wish.prefer,
        platform=course.platform,
    )


def _sorted(slots: list[Slot], ranks: Sequence[tuple[float, ...]], rng: Random) -> list[Slot]:
    """Return slots by place, then rank, then priorities; by lot where all of these are equal."""
    draw = rng.random
    # Efraimidis and Spirakis: the largest root is drawn as often as its weight says.
    keys = [
        (slot.place, rank, slot.group, -(draw() ** slot.candidate.inverse_weight), number)
        for number, (slot, rank) in enumerate(zip(slots, ranks, strict=True))
    ]
    keys.sort()
    return [slots[key[4]] for key in keys]


def _local(routes: CallerRoutes, wish: Wish, course: _Course, sieve: Sieve) -> Sequence[Slot]:
    """Return the slots of the caller's local models, where the policy or the user wants them."""
    sources = SOURCES.get(course.policy)
    preferred = wish.prefer == LOCAL
    if not wish.local:
        if preferred or (sources is not None and LOCAL in sources):
            sieve.rejected.append(Rejected(course.asked, LOCAL, reasons.LOCAL_UNAVAILABLE))
        return ()
    if sources is not None and LOCAL not in sources and not preferred:
        sieve.rejected += (Rejected(label_of(each.offer), LOCAL, reasons.NOT_IN_POLICY) for each in wish.local)
        return ()
    if (withheld := routes.withheld(LOCAL)) is not None:
        sieve.rejected += (Rejected(label_of(each.offer), LOCAL, withheld) for each in wish.local)
        return ()
    # The first in every policy that knows an order; with the others where those compare.
    rank = 0 if preferred or (sources is not None and wish.prefer is None) else 1
    return _local_slots(routes, wish.local, rank)


def _local_slots(routes: CallerRoutes, targets: Sequence[Target], rank: int) -> tuple[Slot, ...]:
    return tuple(
        Slot((0, rank), candidate.group, candidate, candidate.target)
        for candidate in (Candidate(target, routes.principal) for target in targets)
    )


def _plan_local(routes: CallerRoutes, wish: Wish, health: HealthView, asked: str) -> Decision:
    """Return the local targets; nothing else is even looked at."""
    sieve = Sieve(routes, wish, health, None)
    sieve.rejected.append(Rejected(asked, "any", reasons.LOCAL_ONLY))
    if wish.local and (withheld := routes.withheld(LOCAL)) is not None:
        sieve.rejected += (Rejected(label_of(each.offer), LOCAL, withheld) for each in wish.local)
        raise reasons.no_route(asked, sieve.rejected)
    slots = sieve.sift(_local_slots(routes, wish.local, 0))
    if not slots:
        if not wish.local:
            sieve.rejected.append(Rejected(asked, LOCAL, reasons.LOCAL_UNAVAILABLE))
        raise reasons.local_unavailable(sieve.rejected)
    slots.sort(key=lambda slot: slot.group)
    targets = tuple(slot.target for slot in slots)
    return Decision(asked, targets[0].offer.model, targets, tuple(sieve.rejected), LOCAL_ONLY)
