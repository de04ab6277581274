"""An empty answer is free unless the caller's own stop sequence made it so."""

from tests.live import World, rate_all
from tests.provider_double import Behaviour, ProviderDouble


def test_empty_answer_by_own_stop_sequence_is_charged(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(text="", completion_tokens=1))
    response = world.chat(stop=["a", "e"])
    assert rate_all() == 1
    event = world.event(response)
    assert (event.outcome, event.charged) == ("finished", True)
    assert event.charge.price_nano > 0


def test_empty_answer_with_an_empty_stop_is_free(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(text=""))
    response = world.chat(stop=None)
    assert rate_all() == 1
    event = world.event(response)
    assert (event.outcome, event.charge.price_nano) == ("empty", 0)
