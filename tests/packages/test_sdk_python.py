"""The SDK for Python against the real gateway: sessions, calls, streams, errors, retries; each client in turn."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import modelfaucet_sdk as sdk
import pytest

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.models import VirtualSession
from apps.features.services.tokens import revoke_session
from apps.usage.models import UsageEvent
from tests.live import ACTOR, Server, World, differences, heal, notice, rate_all, wait_until
from tests.packages.sdk_python import MOOD, REPLY, Driver, make_driver, offer_embeddings, offer_json
from tests.provider_double import Behaviour, ProviderDouble
from tests.proxy import Proxy


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def driver(world: World, request: pytest.FixtureRequest) -> Iterator[Driver]:
    addresses.forget()
    driver = make_driver(world, is_async=request.param)
    yield driver
    driver.end()


def failure(driver: Driver, call: Callable[[], Any]) -> sdk.FaucetError:
    """Return the error of a call, which carries no token anywhere."""
    with pytest.raises(sdk.FaucetError) as caught:
        driver.do(call())
    error: BaseException | None = caught.value
    while error is not None:
        assert isinstance(error, sdk.FaucetError), f"{error!r} would show the request"
        assert driver.world.token not in f"{error!r}{error}{vars(error)}"
        error = error.__cause__ or error.__context__
    return caught.value


def test_chat_is_answered_and_charged_to_the_nano(driver: Driver, double: ProviderDouble) -> None:
    before = driver.world.balance().posted - driver.world.balance().held
    result = driver.do(driver.client().chat("Say hello", temperature=0.3, max_tokens=50))
    assert result.text == double.requests[0].text
    assert double.requests[0].body["temperature"] == 0.3 and "modelfaucet" not in double.requests[0].body
    event = driver.world.event()
    assert (result.request_id, result.route_mode) == (event.request_id, "platform")
    assert result.usage == sdk.Usage(double.requests[0].usage["prompt_tokens"], event.output_tokens)
    after = driver.world.balance()
    assert nano_from_usd(str(result.price_usd)) == before - (after.posted - after.held) > 0
    rate_all()
    assert differences() == []


def test_wishes_reach_the_routing_and_generate_takes_a_system_prompt(driver: Driver, double: ProviderDouble) -> None:
    result = driver.do(
        driver.client(mode="platform", session_token=driver.world.token).generate("Hi", system="Be kind")
    )
    assert str(result) == double.requests[0].text
    assert [message["role"] for message in double.requests[0].body["messages"]] == ["system", "user"]
    assert driver.world.event().policy == "platform_pool"
    dear = failure(driver, lambda: driver.client().chat("Hi", max_price_usd="0.000000001"))
    assert isinstance(dear, sdk.InsufficientFundsError)


def test_backend_opens_sessions_and_vouches_for_the_same_user(driver: Driver, double: ProviderDouble) -> None:
    backend = driver.backend()
    user = "Zoë/水 42"
    session = driver.do(backend.sessions.create(user, feature_key="default", ttl=7200, client_address="203.0.113.7"))
    assert (session.feature_key, session.available_modes) == ("default", ("platform",))
    assert session.expires_at > now() + timedelta(seconds=7000)
    told = driver.do(driver.client(user_token=backend.user_token(user)).session())
    assert told.end_user_id == session.end_user_id == driver.do(backend.for_user(user).session()).end_user_id
    world = driver.world.new_session(user, usd="1")
    assert driver.do(backend.for_user(user).chat("Hi")).text == double.requests[0].text
    assert world.event().end_user_id == session.end_user_id
    driver.do(backend.sessions.revoke(session.token))
    refused = failure(driver, lambda: driver.client(session_token=session.token).wallet.get())
    assert isinstance(refused, sdk.AuthenticationError) and refused.code == "token_revoked"
    with pytest.raises(ValueError, match="for_user"):
        driver.do(backend.chat("Hi"))


def test_one_session_serves_many_calls_and_those_that_come_at_once(driver: Driver) -> None:
    driver.world.new_session("bob", usd="1")
    before = VirtualSession.objects.count()
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return driver.backend().user_token("bob")

    faucet = driver.client(user_token=token)
    results = driver.parallel(*[lambda: faucet.chat("Hi")] * 4)
    driver.do(faucet.chat("Hi"))
    assert len({result.request_id for result in results}) == 4
    assert (VirtualSession.objects.count() - before, len(asked)) == (1, 1)
    driver.do(faucet.sign_out())
    driver.do(faucet.wallet.get())
    assert (VirtualSession.objects.count() - before, len(asked)) == (2, 2)


def test_session_is_renewed_before_it_ends(driver: Driver) -> None:
    faucet = driver.client(user_token=driver.backend().user_token("bob"), session_ttl=1)
    first = driver.do(faucet.session())
    assert driver.do(faucet.session()).token == first.token
    time.sleep(1.1)
    assert driver.do(faucet.session()).token != first.token


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_call_that_is_refused_for_its_session_is_made_with_a_new_one(
    driver: Driver, server: Server, double: ProviderDouble, streamed: bool
) -> None:
    world = driver.world.new_session("bob", usd="1")
    faucet = driver.backend().for_user("bob")
    session = driver.do(faucet.session())
    revoke_session(session_id=session.id, now=now(), actor=ACTOR)
    notice(server)
    result = driver.do(faucet.stream("Hi").until_done() if streamed else faucet.chat("Hi"))
    assert result.text == double.requests[0].text and len(double.requests) == 1
    assert driver.do(faucet.session()).token != session.token
    assert world.event().request_id == result.request_id


def test_device_without_an_account_uses_its_allowance(driver: Driver) -> None:
    refused = failure(driver, lambda: driver.client(device_id="device-1").session())
    assert isinstance(refused, sdk.PermissionDeniedError) and refused.code == "anonymous_not_allowed"


def test_stream_gives_parts_and_then_the_whole_and_its_price(driver: Driver, double: ProviderDouble) -> None:
    faucet = driver.client()
    stream = faucet.stream("Say hello")
    with driver.within(stream):
        with pytest.raises(RuntimeError):
            _ = stream.result
        parts = driver.rows(stream)
    text = "".join(part.text for part in parts if part.type == "text")
    result = stream.result
    assert result.text == text == double.requests[0].text
    assert [part.usage for part in parts if part.type == "usage"][-1] == result.usage
    event = driver.world.event()
    assert (stream.request_id, result.request_id) == (event.request_id, event.request_id)
    assert nano_from_usd(str(result.price_usd)) == event.price_nano > 0
    assert "".join(driver.rows(faucet.stream("Again").texts())) == double.requests[1].text
    double.script("tool")
    tool = driver.do(faucet.stream("Call it").until_done())
    assert tool.tool_calls and tool.finish_reason == "tool_calls" and tool.tool_calls[0].parsed() is not None


def test_stream_that_is_left_early_ends_at_the_provider(driver: Driver, double: ProviderDouble, settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.2
    double.script(Behaviour(chunks=400, interval=0.05))
    with driver.within(driver.client().stream("Tell me a lot")) as stream:
        assert len(driver.rows(stream, 3)) == 3
    left = time.monotonic()
    double.wait_for(lambda: double.requests[0].closed_by_peer_at is not None)
    assert time.monotonic() - left < 3 and not double.requests[0].completed
    assert driver.rows(stream) == []
    event = driver.world.wait_for_event()
    assert event.outcome == "client_left" and event.price_nano > 0


def test_stream_that_breaks_off_is_an_error_and_not_tried_again(driver: Driver, double: ProviderDouble) -> None:
    double.script("close-within", "normal")
    stream = driver.client().stream("Say hello")
    with driver.within(stream):
        error = failure(driver, lambda: stream.until_done())
    assert isinstance(error, sdk.UnavailableError) and error.code is not None
    assert len(double.requests) == 1 and driver.world.wait_for_event().price_nano == 0


def test_features_take_input_and_give_output(driver: Driver, server: Server, double: ProviderDouble) -> None:
    offer_json(driver.world)
    driver.world.manifest("reply", **REPLY)
    driver.world.manifest("mood", **MOOD)
    notice(server)
    faucet = driver.client()
    reply = driver.do(faucet.feature("reply")({"text": "Hello?"}, max_tokens=40))
    assert reply.output == reply.text == double.requests[0].text and reply.price_usd > 0
    assert double.requests[0].body["messages"][-1]["content"] == "Answer: Hello?"
    double.script(Behaviour(text='{"mood": "good"}'), Behaviour(text="good"), "normal")
    mood = faucet.feature("mood")
    assert driver.do(mood({"text": "Yes"})).output == {"mood": "good"}
    assert driver.do(mood({"text": "Yes"})).problem == "not_json"
    stream = faucet.feature("reply").stream({"text": "Hello?"})
    with driver.within(stream):
        texts = driver.rows(stream.texts())
    assert "".join(texts) == stream.result.output == double.requests[3].text
    assert stream.result.price_usd is not None and stream.result.request_id == stream.request_id
    wrong = failure(driver, lambda: faucet.feature("reply")({"text": 5}))
    assert isinstance(wrong, sdk.BadRequestError) and (wrong.code, wrong.param) == ("invalid_input", "input.text")
    assert isinstance(failure(driver, lambda: faucet.feature("nothing")({})), sdk.NotFoundError)


def test_embeddings_are_vectors(driver: Driver, server: Server, double: ProviderDouble) -> None:
    offer_embeddings()
    notice(server)
    result = driver.do(driver.client().embeddings(["Hello", "there"], model="embedder", dimensions=4))
    assert [len(vector) for vector in result.vectors] == [4, 4]
    assert result.usage.input_tokens == driver.world.event().input_tokens > 0 and result.price_usd > 0
    packed = driver.do(
        driver.client().embeddings(["Hello", "there"], model="embedder", dimensions=4, encoding_format="base64")
    )
    assert packed.vectors[0] == pytest.approx(result.vectors[0], abs=1e-6)


def test_refusals_are_classes(driver: Driver, server: Server) -> None:
    world, faucet = driver.world, driver.client()
    poor = driver.client(session_token=world.new_session("poor").token)
    assert isinstance(failure(driver, lambda: poor.chat("Hi")), sdk.InsufficientFundsError)
    assert isinstance(failure(driver, lambda: poor.stream("Hi").until_done()), sdk.InsufficientFundsError)
    unknown = driver.client(session_token="mf_sess_" + "x" * 43)
    error = failure(driver, lambda: unknown.chat("Hi"))
    assert isinstance(error, sdk.AuthenticationError) and error.code == "invalid_token" and error.request_id
    assert isinstance(failure(driver, lambda: faucet.chat("Hi", model="nothing")), sdk.NotFoundError)
    assert failure(driver, lambda: faucet.chat([])).status == 400
    forged = sdk.sign_user_token("eve", app_id=driver.app_id, app_secret="guess")
    refused = failure(driver, lambda: driver.client(user_token=forged).session())
    assert isinstance(refused, sdk.AuthenticationError) and refused.code == "user_token_invalid"
    key = driver.client(virtual_key=world.virtual_key(usd="1"))
    assert isinstance(failure(driver, lambda: key.fees.list()), sdk.PermissionDeniedError)
    world.limit("end_user", world.end_user_id, rpm=1)
    notice(server)
    driver.do(faucet.chat("Hi"))
    began = time.monotonic()
    limited = failure(driver, lambda: driver.client(session_token=world.token, max_retries=0).chat("Hi"))
    assert isinstance(limited, sdk.RateLimitedError) and limited.retry_after and time.monotonic() - began < 5


def test_answer_that_never_comes_is_given_up(driver: Driver, double: ProviderDouble) -> None:
    double.script("stall-before")
    error = failure(
        driver, lambda: driver.client(session_token=driver.world.token, max_retries=0).chat("x", timeout=0.3)
    )
    assert isinstance(error, sdk.TimedOutError) and error.status is None
    double.release()
    nowhere = driver.client(url="http://127.0.0.1:9", session_token=driver.world.token, max_retries=0)
    assert isinstance(failure(driver, lambda: nowhere.chat("x")), sdk.ConnectionFailedError)


def test_provider_that_fails_once_is_asked_again_and_charged_once(driver: Driver, double: ProviderDouble) -> None:
    double.default = Behaviour(status=503)
    error = failure(driver, lambda: driver.client(session_token=driver.world.token, max_retries=0).chat("Hi"))
    assert isinstance(error, sdk.UnavailableError)
    heal()
    tries = len(double.requests)
    double.default = Behaviour()
    double.script(*["status-503"] * tries)
    result = driver.do(driver.client().chat("Hi"))
    assert len(double.requests) == 2 * tries + 1 and result.price_usd > 0
    assert [event.price_nano > 0 for event in UsageEvent.objects.order_by("created_at")].count(True) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_answer_that_got_lost_is_fetched_again_and_charged_once(
    driver: Driver, double: ProviderDouble, streamed: bool
) -> None:
    split = urlsplit(driver.world.base_url)
    with Proxy((str(split.hostname), int(split.port or 0))) as way, ThreadPoolExecutor(1) as pool:
        faucet = driver.client(url=f"http://127.0.0.1:{way.port}", session_token=driver.world.token)
        way.deaf = True
        if streamed:
            going = pool.submit(lambda: driver.do(faucet.stream("Hi", timeout=1.5).until_done()))
        else:
            going = pool.submit(lambda: driver.do(faucet.chat("Hi", timeout=1.5)))
        wait_until(lambda: UsageEvent.objects.count() == 1, 10)
        time.sleep(1.6)  # the first attempt has given up by then, so that its answer is lost
        way.heal()
        result = going.result(20)
        driver.end()
    assert result.meta.replayed and result.text == double.requests[0].text
    assert len(double.requests) == 1 and UsageEvent.objects.get().request_id == result.request_id
    rate_all()
    assert driver.world.balance().posted == nano_from_usd("10") - nano_from_usd(str(result.price_usd))


def test_own_key_makes_a_repetition_free(driver: Driver, double: ProviderDouble) -> None:
    faucet = driver.client()
    first = driver.do(faucet.chat("Hi", idempotency_key="ticket-7"))
    again = driver.do(faucet.chat("Hi", idempotency_key="ticket-7"))
    assert (again.text, again.request_id, again.meta.replayed) == (first.text, first.request_id, True)
    other = failure(driver, lambda: faucet.chat("Ho", idempotency_key="ticket-7"))
    assert isinstance(other, sdk.ConflictError) and other.code == "idempotency_key_reused"
    assert len(double.requests) == 1
