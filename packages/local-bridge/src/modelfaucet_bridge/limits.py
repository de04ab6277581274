"""The bridge's own policies: requests and tokens per minute, and the budget of a month."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from modelfaucet_bridge.config import Channel
from modelfaucet_bridge.ledger import Entry, Ledger, month_of
from modelfaucet_bridge.money import Tokens, usd
from modelfaucet_bridge.policies import Call, Outcome, Refused

MINUTE = 60.0
STOPPED = 100
# What an answer may cost whose length the request does not bound.
OUTPUT_GUESS = 1_000


class Rates:
    """Requests and tokens of the last minute. Tokens are counted when they are known, so TPM is a soft limit."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._requests: dict[str, deque[float]] = defaultdict(deque)
        self._tokens: dict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Take up what the ledger says of the last minute."""
        for entry in entries:
            if entry.channel is not None and entry.served and entry.at > self._clock() - MINUTE:
                self._requests[entry.channel].append(entry.at)
                self._tokens[entry.channel].append((entry.at, entry.tokens))

    def used(self, channel: str) -> tuple[int, int]:
        """Return the requests and the tokens of the last minute."""
        self._forget(channel)
        return len(self._requests[channel]), sum(tokens for _, tokens in self._tokens[channel])

    async def before_call(self, call: Call) -> None:
        """Let a call through and count it. Raises Refused with the seconds until there is room."""
        channel, at = call.channel, self._clock()
        requests, tokens = self.used(channel.name)
        if channel.rpm is not None and requests >= channel.rpm:
            oldest = self._requests[channel.name][requests - channel.rpm]
            raise _slow_down(channel, "rpm_exceeded", f"{channel.rpm} requests", oldest + MINUTE - at)
        if channel.tpm is not None and tokens >= channel.tpm:
            raise _slow_down(channel, "tpm_exceeded", f"{channel.tpm} tokens", self._room_at(channel, tokens) - at)
        self._requests[channel.name].append(at)

    async def after_call(self, call: Call, outcome: Outcome) -> None:
        if outcome.tokens is not None:
            self._tokens[call.channel.name].append((self._clock(), outcome.tokens.total))

    def _room_at(self, channel: Channel, tokens: int) -> float:
        """Return when enough tokens of the last minute are past."""
        at = self._clock()
        for moment, used in self._tokens[channel.name]:
            tokens, at = tokens - used, moment + MINUTE
            if channel.tpm is not None and tokens < channel.tpm:
                break
        return at

    def _forget(self, channel: str) -> None:
        start = self._clock() - MINUTE
        requests, tokens = self._requests[channel], self._tokens[channel]
        while requests and requests[0] <= start:
            requests.popleft()
        while tokens and tokens[0][0] <= start:
            tokens.popleft()


def _slow_down(channel: Channel, code: str, limit: str, seconds: float) -> Refused:
    message = f"The channel {channel.name} is limited to {limit} a minute."
    return Refused(429, code, message, retry_after=max(1, math.ceil(seconds)))


class Budgets:
    """The budget of each channel for a month, with alerts as it runs out and, if wished, a stop.

    With a stop, a call is let through while anything is left that the calls under way are not expected to use, so a
    month passes its budget by at most the last call.
    """

    def __init__(
        self, ledger: Ledger, alert: Callable[[Channel, str, int, int], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger, self._alert, self._clock = ledger, alert, clock
        self._expected: dict[str, dict[str, int]] = defaultdict(dict)

    async def before_call(self, call: Call) -> None:
        """Let a call through. Raises Refused where a stop is set and the budget is used up, or cannot be kept."""
        channel = call.channel
        if channel.budget is None:
            return
        price = channel.price(call.model)
        if channel.hard_stop:
            if price is None:
                message = (
                    f"The budget of {channel.name} cannot be kept: the price of this model is unknown to the bridge."
                )
                raise Refused(402, "price_unknown", message)
            spent = self._ledger.month(channel.name, self._clock()).spent
            if spent + sum(self._expected[channel.name].values()) >= channel.budget:
                if spent >= channel.budget:
                    self.check(channel, stopped=True)
                message = f"The month's budget of {channel.name} ({usd(channel.budget)}) is used up."
                raise Refused(402, "budget_exceeded", message)
        if price is not None:
            self._expected[channel.name][call.request_id] = price.cost(_expected(call))

    async def after_call(self, call: Call, outcome: Outcome) -> None:
        """Forget what the call was expected to use. Its cost is in the ledger already."""
        self._expected[call.channel.name].pop(call.request_id, None)
        self.check(call.channel)

    def check(self, channel: Channel, *, stopped: bool = False) -> None:
        """Raise the alerts whose threshold the month has passed; each is sent once, which is not decided here."""
        if not channel.budget:
            return
        at = self._clock()
        spent = self._ledger.month(channel.name, at).spent
        for threshold in channel.alert_at:
            if spent * 100 >= channel.budget * threshold:
                self._alert(channel, month_of(at), threshold, spent)
        if (stopped or channel.hard_stop) and spent >= channel.budget and STOPPED not in channel.alert_at:
            self._alert(channel, month_of(at), STOPPED, spent)


def _expected(call: Call) -> Tokens:
    body = call.body
    bounds = (body.get("max_completion_tokens"), body.get("max_output_tokens"), body.get("max_tokens"))
    most = next((bound for bound in bounds if type(bound) is int and bound >= 0), OUTPUT_GUESS)
    return Tokens(call.input_estimate, 0 if call.operation == "embeddings" else most)
