"""One attempt at a target: how it can fail, and what is known when it is over."""

import asyncio

from apps.gateway.call import Call
from apps.gateway.failures import Failure
from apps.gateway.metering import Answer
from apps.gateway.outcomes import Ending
from apps.gateway.routing import Target
from apps.gateway.stream_meter import StreamMeter
from apps.gateway.tokens import count_tokens


class AttemptFailed(Exception):
    """A target failed before the client got a byte: the next one may be tried."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


def uncancel() -> None:
    """Go on after a cancellation that only cut the relay short."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


async def ending_of(
    call: Call,
    target: Target,
    *,
    complete: bool,
    client_left: bool,
    failed: bool = False,
    answer: Answer | None = None,
    meter: StreamMeter | None = None,
) -> Ending:
    """Return what `judge` is to know; what no provider reported is counted."""
    tokenizer, image_tokens = target.offer.tokenizer, target.offer.image_tokens
    reported = answer.usage if answer is not None else meter.usage if meter is not None else None
    delivered = prompt = 0
    if reported is None or (client_left and not complete):
        text = call.request.prompt
        if text.is_long:
            prompt = await asyncio.to_thread(text.count, tokenizer, image_tokens)
        else:
            prompt = text.count(tokenizer, image_tokens)
        if answer is not None:
            delivered = count_tokens(answer.text, tokenizer)
        elif meter is not None:
            delivered = meter.delivered_tokens()
            reported = meter.usage
    return Ending(
        complete=complete,
        failed=failed,
        client_left=client_left,
        own_stop=call.request.own_stop,
        has_content=answer.has_content if answer is not None else meter is not None and meter.has_content,
        finish_reason=answer.finish_reason if answer is not None else meter.finish_reason if meter else None,
        reported=reported,
        prompt_tokens=prompt,
        delivered_tokens=delivered,
    )
