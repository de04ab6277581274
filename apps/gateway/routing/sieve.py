"""What the request itself, its limits and the health of the moment leave of the candidates."""

from collections.abc import Iterable

from apps.features.queries import Principal
from apps.gateway.health import HealthView
from apps.gateway.routing import reasons
from apps.gateway.routing.orders import Slot
from apps.gateway.routing.reasons import Rejected
from apps.gateway.routing.table import CallerRoutes, Candidate
from apps.gateway.routing.wish import Wish
from apps.gateway.tokens import Prompt
from apps.usage.rate import LOCAL, worst_case

# Room that an answer must find in the context window where the caller named no limit.
LEAST_OUTPUT = 16
NEVER = float("inf")


class Sieve:
    """One pass over the candidates of one call; `rejected` collects the others.

    Tokens are those of the prompt as far as known without counting a long one, and the most the answer may have.
    """

    __slots__ = (
        *("_health", "_images", "_needs", "_unknown_passes", "_waiting", "_wish"),
        *("ceiling", "floor", "output_tokens", "prompt_tokens", "rejected", "room", "routes", "task_class"),
    )

    def __init__(self, routes: CallerRoutes, wish: Wish, health: HealthView, task_class: str | None) -> None:
        principal = routes.principal
        routing = principal.manifest.routing
        self.routes = routes
        self.task_class = task_class
        self.rejected: list[Rejected] = []
        self._wish = wish
        self._health = health
        self._waiting: list[tuple[float, Slot]] = []
        explicit = wish.require.union(routing.require) if routing.require else wish.require
        self._needs = wish.needs | explicit if explicit else wish.needs
        # An offer that nobody has described is not refused for what it was never asked about.
        self._unknown_passes = not explicit and wish.operation == "chat"
        floors = [floor for floor in (wish.min_quality, routes.min_quality) if floor is not None]
        self.floor = max(floors) if floors else 0
        prices = [price for price in (wish.max_price, routes.max_price) if price is not None]
        self.ceiling = min(prices) if prices else None
        cap = min(wish.max_output or principal.max_output_tokens, principal.max_output_tokens)
        self.prompt_tokens = rough_tokens(wish.prompt)
        self.output_tokens = cap * wish.choices
        self._images = wish.prompt.images
        self.room = room_of(principal, wish)

    def reject(self, slots: Iterable[Slot], reason: str) -> None:
        """Note why these candidates are not used."""
        self.rejected += (Rejected(slot.candidate.label, slot.candidate.mode, reason) for slot in slots)

    def sift(self, slots: Iterable[Slot]) -> list[Slot]:
        """Return those that can serve the call now, in the order given."""
        usable = []
        needs, room, images, floor = self._needs, self.room, self._images, self.floor
        operation, excluded = self._wish.operation, self._wish.excluded
        ceiling, health = self.ceiling, self._health
        ailing = bool(health.down or health.disabled)
        for slot in slots:
            candidate = slot.candidate
            reason = None
            if not needs <= candidate.capabilities and (candidate.capabilities or not self._unknown_passes):
                reason = reasons.CAPABILITY
            elif operation not in candidate.operations:
                reason = reasons.NO_OPERATION
            elif candidate.window is not None and room + images * candidate.offer.image_tokens > candidate.window:
                reason = reasons.CONTEXT
            elif floor and (candidate.quality(self.task_class) or -1) < floor:
                reason = reasons.QUALITY
            elif ceiling is not None and self._most(candidate) > ceiling:
                reason = reasons.PRICE
            elif excluded and candidate.credential_key[0] in excluded:
                reason = excluded[candidate.credential_key[0]]
            elif ailing:
                reason = self._ailment(slot)
            if reason is None:
                usable.append(slot)
            else:
                self.rejected.append(Rejected(candidate.label, candidate.mode, reason))
        return usable

    def last_resort(self) -> list[Slot]:
        """Return the one that is due first of those whose health alone speaks against them; local ones never are."""
        cloud = [entry for entry in self._waiting if entry[1].candidate.mode != LOCAL]
        if not cloud:
            return []
        slot = min(cloud, key=lambda entry: entry[0])[1]
        candidate = slot.candidate
        for reason in (reasons.CIRCUIT, reasons.UNHEALTHY):
            entry = Rejected(candidate.label, candidate.mode, reason)
            if entry in self.rejected:
                self.rejected.remove(entry)
        return [slot]

    def _ailment(self, slot: Slot) -> str | None:
        candidate, health = slot.candidate, self._health
        until = max(health.down.get(candidate.key, 0.0), health.down.get(candidate.credential_key, 0.0))
        disabled = candidate.credential_key[0] in health.disabled
        if until <= health.now and not disabled:
            return None
        self._waiting.append((NEVER if disabled else until, slot))
        if candidate.mode == LOCAL:
            return reasons.LOCAL_UNAVAILABLE
        return reasons.UNHEALTHY if disabled else reasons.CIRCUIT

    def _most(self, candidate: Candidate) -> int:
        """Return the most that a call can be charged, its prompt counted unless that takes a thread."""
        wish, offer = self._wish, candidate.offer
        prompt = wish.prompt
        exact = wish.counted or not prompt.is_long
        tokens = prompt.ceiling(offer.tokenizer, offer.image_tokens) if exact else prompt.bound(offer.image_tokens)
        return worst_case(
            offer.price,
            self.routes.principal.terms,
            mode=candidate.mode,
            prompt_tokens=tokens,
            output_tokens=self.output_tokens,
        )


def room_of(principal: Principal, wish: Wish) -> int:
    """Return about how many tokens of context a call takes, its images left out."""
    cap = principal.max_output_tokens
    cap = min(wish.max_output, cap) if wish.max_output else min(cap, LEAST_OUTPUT)
    return rough_tokens(wish.prompt) + cap


def rough_tokens(prompt: Prompt) -> int:
    """Return about how many tokens a prompt has, its images left out; nothing is counted for it."""
    text = prompt.text
    return (len(text) if text.isascii() else len(text.encode())) // 4 + prompt.other


def wants_count(routes: CallerRoutes, wish: Wish) -> bool:
    """Tell whether a plan is only exact for a prompt that was counted, which is then done in a thread before it.

    Count it with the tokenizers of the offers, and set `wish.counted`; otherwise its bytes stand for its tokens.
    """
    return (wish.max_price is not None or routes.max_price is not None) and wish.prompt.is_long
