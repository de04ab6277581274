"""The SDK for JavaScript, as it is built, in Node against the real gateway."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.catalog.services.offers import add_provider
from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.models import VirtualSession
from apps.features.queries import app_by_id
from apps.features.services.apps import update_app
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import revoke_session
from apps.usage.models import UsageEvent
from apps.vault.services.app_secrets import issue_app_secret
from tests.core.answering import Answering, answer
from tests.gateway.api_factories import Api, make_developer_token
from tests.live import ACTOR, Server, World, differences, make_world, notice, rate_all, wait_until
from tests.packages.javascript import go_on, next_line, run, running
from tests.packages.sdk_python import MOOD, REPLY, offer_embeddings, offer_json
from tests.provider_double import Behaviour, ProviderDouble
from tests.proxy import Proxy

FEES = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0015"), local_fee=nano_from_usd("0.002"))


@pytest.fixture
def world(server: Server, double: ProviderDouble) -> World:
    """Give an app that charges fees."""
    addresses.forget()
    return make_world(server.base_url, double.base_url, terms=FEES)


@pytest.fixture
def api(world: World) -> Api:
    """Give the world's app with its secret."""
    info = app_by_id(world.app_id)
    assert info is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    return Api(world, info.public_id, secret, make_developer_token(world.developer_id), None)  # type: ignore[arg-type]


def of(world: World, **more: Any) -> dict[str, Any]:
    """Return what every program is given."""
    return {"baseUrl": world.base_url, "token": world.token, **more}


def test_chat_is_answered_and_charged_to_the_nano(world: World, double: ProviderDouble) -> None:
    given = run(
        """
        const faucet = faucetOf();
        const messages = [{ role: "user", content: "Say hello" }];
        const answer = await faucet.chat({ messages, temperature: 0.3, max_tokens: 50 });
        const receipt = await answer.receipt();
        const usage = await faucet.usage.list({ limit: 5 });
        const [session, wallet] = [await faucet.session(), await faucet.wallet.get()];
        give({ ...answer, text: `${answer}`, receipt, usage, session, wallet });
        """,
        **of(world),
    )
    (request,) = double.requests
    assert given["text"] == request.text == given["message"]["content"]
    assert request.body["temperature"] == 0.3 and "modelfaucet" not in request.body
    event = world.event()
    assert (given["request_id"], given["route_mode"]) == (event.request_id, "platform")
    assert given["usage"]["data"][0]["request_id"] == event.request_id == given["receipt"]["request_id"]
    assert given["usage"]["totals"]["price_usd"] == given["price_usd"] == given["receipt"]["price_usd"]
    assert given["session"]["end_user_id"] == world.end_user_id == event.end_user_id
    assert given["wallet"]["top_up"]["enabled"] is False
    after = world.balance()
    assert nano_from_usd(given["price_usd"]) == nano_from_usd("10") - (after.posted - after.held) > 0
    rate_all()
    assert differences() == []


def test_stream_gives_parts_and_then_the_whole_and_its_price(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(text="小猫 🐈 schläft", one_byte_writes=True), "tool", "reasoning")
    plain, tool, thinking = run(
        """
        const faucet = faucetOf();
        for (const prompt of ["One", "Two", "Three"]) {
          const stream = faucet.stream({ prompt });
          give({ parts: await all(stream), result: await stream.result });
        }
        """,
        **of(world),
    )
    text = "".join(part["text"] for part in plain["parts"] if part["type"] == "text")
    assert text == plain["result"]["text"] == "小猫 🐈 schläft"
    event = UsageEvent.objects.get(request_id=plain["result"]["request_id"])
    assert plain["parts"][-1]["type"] == "usage"
    assert nano_from_usd(plain["result"]["price_usd"]) == event.price_nano > 0
    assert plain["result"]["usage"]["output_tokens"] == event.output_tokens
    (call,) = [part for part in tool["parts"] if part["type"] == "tool_call"]
    assert json.loads(call["arguments"]) and tool["result"]["finish_reason"] == "tool_calls"
    thoughts = "".join(part["text"] for part in thinking["parts"] if part["type"] == "reasoning")
    assert thoughts == "Let me think about it."


def test_stream_that_is_aborted_ends_at_the_provider(world: World, double: ProviderDouble, settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.2
    double.script(Behaviour(chunks=400, interval=0.05))
    program = """
        const stream = faucetOf().stream({ prompt: "Tell me a lot" });
        let parts = 0;
        for await (const part of stream) if (part.type === "text" && ++parts === 3) stream.abort();
        give({ parts, finish: (await stream.result).finish_reason });
        await new Promise((resolve) => process.stdin.once("data", resolve));
        process.exit();
    """
    with running(program, stdin=True, **of(world)) as process:
        assert next_line(process) == {"parts": 3, "finish": "aborted"}
        # The page lives on: it is the stream that is closed, not the process.
        double.wait_for(lambda: double.requests[0].closed_by_peer_at is not None, 15)
        assert process.poll() is None and not double.requests[0].completed
        go_on(process)
    event = world.wait_for_event()
    assert event.outcome == "client_left" and event.price_nano > 0


def test_stream_that_breaks_off_is_an_error_and_costs_nothing(world: World, double: ProviderDouble) -> None:
    double.script("close-within", "normal")
    error = run('give(await caught(faucetOf().stream({ prompt: "Hi" }).result));', **of(world))
    assert (error["name"], error["code"]) == ("UnavailableError", "provider_broke_off")
    assert len(double.requests) == 1 and world.wait_for_event().price_nano == 0


def test_features_take_input_and_give_output(world: World, server: Server, double: ProviderDouble) -> None:
    offer_json(world)
    world.manifest("reply", **REPLY)
    world.manifest("mood", **MOOD)
    notice(server)
    double.script("normal", Behaviour(text='{"mood": "good"}'), Behaviour(text="good"), "normal")
    whole, mood, broken, streamed, wrong, missing = run(
        """
        const faucet = faucetOf();
        const reply = faucet.feature("reply");
        give(await reply({ text: "Hello?" }, { max_tokens: 40 }));
        give(await faucet.feature("mood")({ text: "Yes" }));
        give(await faucet.feature("mood")({ text: "Yes" }));
        const stream = reply.stream({ text: "Hello?" });
        give({ parts: await all(stream), result: await stream.result });
        give(await caught(reply({ text: 5 })));
        give(await caught(faucet.feature("nothing")({})));
        """,
        **of(world),
    )
    assert whole["output"] == whole["text"] == double.requests[0].text
    assert double.requests[0].body["messages"][-1]["content"] == "Answer: Hello?"
    assert double.requests[0].body["max_tokens"] == 40
    assert mood["output"] == {"mood": "good"}
    assert (broken["output"], broken["output_problem"]) == ("good", "not_json")
    text = "".join(part["text"] for part in streamed["parts"] if part["type"] == "text")
    assert text == streamed["result"]["output"] == double.requests[3].text
    event = UsageEvent.objects.get(request_id=streamed["result"]["request_id"])
    assert nano_from_usd(streamed["result"]["price_usd"]) == event.price_nano > 0
    assert (wrong["name"], wrong["code"], wrong["param"]) == ("BadRequestError", "invalid_input", "input.text")
    assert (missing["name"], missing["code"]) == ("NotFoundError", "feature_not_found")


def test_embeddings_are_vectors(world: World, server: Server) -> None:
    offer_embeddings()
    notice(server)
    given = run(
        'give(await faucetOf().embeddings({ input: ["Hello", "there"], model: "embedder", dimensions: 4 }));',
        **of(world),
    )
    assert [len(vector) for vector in given["embeddings"]] == [4, 4]
    assert given["usage"]["input_tokens"] == world.event().input_tokens > 0


def test_refusals_are_classes(world: World, server: Server) -> None:
    world.limit("end_user", world.end_user_id, rpm=1)
    notice(server)
    poor, streamed, unknown, model, limited, elsewhere = run(
        """
        const poor = faucetOf({ sessionToken: given.poor });
        give(await caught(poor.generate("Hi")));
        give(await caught(poor.stream({ prompt: "Hi" }).result));
        give(await caught(faucetOf({ sessionToken: "mf_sess_" + "x".repeat(43) }).generate("Hi")));
        give(await caught(poor.generate({ prompt: "Hi", model: "nothing" })));
        const faucet = faucetOf({ maxRetries: 0 });
        await faucet.generate("Hi");
        give(await caught(faucet.generate("Hi")));
        give(await caught(faucetOf({ baseUrl: "http://127.0.0.1:9", maxRetries: 0 }).generate("Hi")));
        """,
        **of(world, poor=world.new_session("poor").token),
    )
    assert (poor["name"], poor["status"], poor["code"]) == ("InsufficientFundsError", 402, "insufficient_funds")
    assert streamed["code"] == "insufficient_funds"
    assert (unknown["name"], unknown["code"]) == ("AuthenticationError", "invalid_token") and unknown["requestId"]
    assert (model["name"], model["code"]) == ("NotFoundError", "model_not_found")
    assert (limited["name"], limited["code"]) == ("RateLimitedError", "rate_limit_exceeded")
    assert 0 < limited["retryAfter"] <= 65
    assert (elsewhere["name"], elsewhere["code"]) == ("ConnectionError", "connection_failed")


def test_provider_that_is_busy_is_asked_again_after_its_time(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(status=429, retry_after="1"))
    given = run(
        """
        const began = Date.now();
        const answer = await faucetOf().generate("Hi");
        give({ ms: Date.now() - began, price: answer.price_usd });
        """,
        **of(world),
    )
    assert given["ms"] >= 1000 and nano_from_usd(given["price"]) > 0
    assert [event.price_nano > 0 for event in UsageEvent.objects.all()].count(True) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_answer_that_got_lost_is_fetched_again_and_charged_once(
    world: World, double: ProviderDouble, streamed: bool
) -> None:
    split = urlsplit(world.base_url)
    program = """
        const faucet = faucetOf({ timeout: 1500 });
        await faucet.session();
        give("ready");
        await new Promise((resolve) => process.stdin.once("data", resolve));
        const answer = await (given.streamed ? faucet.stream({ prompt: "Hi" }).result : faucet.generate("Hi"));
        give({ text: answer.text, price: answer.price_usd, id: answer.request_id });
        process.exit();
    """
    with Proxy((str(split.hostname), int(split.port or 0))) as way:
        given = of(world, baseUrl=f"http://127.0.0.1:{way.port}", streamed=streamed)
        with running(program, stdin=True, **given) as process:
            assert next_line(process) == "ready"
            way.deaf = True
            go_on(process)
            wait_until(lambda: UsageEvent.objects.count() == 1, 10)
            way.heal()
            result = next_line(process)
    assert result["text"] == double.requests[0].text
    assert len(double.requests) == 1 and UsageEvent.objects.get().request_id == result["id"]
    rate_all()
    assert world.balance().posted == nano_from_usd("10") - nano_from_usd(result["price"])


def test_users_session_is_opened_by_user_token_and_anew_when_it_ends(api: Api, server: Server) -> None:
    world = api.world.new_session("bob", usd="1")
    program = """
        let asked = 0;
        const faucet = faucetOf({ sessionToken: undefined, userToken: async () => given.tokens[asked++] });
        const answers = await Promise.all(["a", "b", "c"].map((prompt) => faucet.generate(prompt)));
        const first = await faucet.session();
        give({ asked, first });
        await new Promise((resolve) => process.stdin.once("data", resolve));
        await Promise.all(["a", "b"].map((prompt) => faucet.generate(prompt)));
        give({ asked, second: await faucet.session() });
        await faucet.signOut();
        process.exit();
    """
    before = VirtualSession.objects.count()
    tokens = [api.user_token("bob"), api.user_token("bob", jti="again")]
    with running(program, stdin=True, **of(world, token=None, publicAppId=api.public_id, tokens=tokens)) as process:
        opened = next_line(process)
        assert opened["asked"] == 1 and opened["first"]["end_user_id"] == world.end_user_id
        revoke_session(session_id=opened["first"]["session_id"], now=now(), actor=ACTOR)
        notice(server)
        go_on(process)
        renewed = next_line(process)
        assert renewed["asked"] == 2
        assert renewed["second"]["session_id"] != opened["first"]["session_id"]
        process.wait(20)
    assert VirtualSession.objects.count() - before == 2
    assert VirtualSession.objects.get(id=renewed["second"]["session_id"]).revoked_at is not None
    assert UsageEvent.objects.filter(end_user_id=world.end_user_id).count() == 5


def test_device_without_an_account_spends_its_allowance(api: Api) -> None:
    update_app(app_id=api.app_id, anonymous_allowance=nano_from_usd("0.02"), now=now(), actor=ACTOR)
    api.fund_allowance("1")
    given = run(
        """
        const faucet = faucetOf({ sessionToken: undefined });
        const told = [];
        faucet.on("balance", (event) => told.push(event));
        const session = await faucet.session();
        await faucet.generate("Hi");
        const keys = await caught(faucet.keys.add({ provider: "double-0", secret: "sk-mine-0123456789" }));
        give({ session, told, keys });
        """,
        **of(api.world, token=None, publicAppId=api.public_id),
    )
    assert given["session"]["assurance"] == "anonymous"
    assert given["session"]["allowance"]["state"] == "granted"
    assert given["told"][0]["available_usd"] == "0.0200" and "spent_usd" in given["told"][1]
    assert (given["keys"]["name"], given["keys"]["code"]) == ("PermissionError", "proof_required")


@pytest.fixture
def provider(settings: Any, double: ProviderDouble) -> Iterator[Answering]:
    """Give a provider `theirs` that takes every key."""
    with Answering(answer(200)) as running_provider:
        port = running_provider.port
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{port}", f"127.0.0.1:{double.port}")
        known: dict[str, Any] = {"resale_allowed": False, "trains_on_data": True, "now": now(), "actor": ACTOR}
        add_provider(id="theirs", name="Theirs", base_url=f"http://127.0.0.1:{port}/v1", **known)
        yield running_provider


def test_own_keys_are_kept_tried_changed_and_erased(world: World, provider: Answering) -> None:
    made, tried, newer, listed, gone, budget = run(
        """
        const { keys, budget } = faucetOf();
        const secret = "sk-theirs-0123456789-WXYZ";
        const made = await keys.add({ provider: "theirs", secret, label: "Mine", monthly_budget_usd: "5" });
        give(made);
        await keys.update(made.id, { status: "disabled" });
        await keys.update(made.id, { status: "active", priority: 1 });
        give(await keys.validate(made.id));
        const newer = await keys.rotate(made.id, "sk-newer-0123456789-QRST");
        give(newer);
        give(await keys.list({ limit: 1 }));
        await keys.remove(newer.id);
        give(await caught(keys.validate(newer.id)));
        await budget.set({ daily_usd: "1.5" });
        give(await budget.get());
        """,
        **of(world),
    )
    assert (made["hint"], made["fee"]["fee_usd"], made["monthly_budget_usd"]) == ("WXYZ", "0.0015", "5.0000")
    assert (tried["priority"], tried["validation"]["result"]) == (1, "ok")
    assert (newer["hint"], newer["replaces"]) == ("QRST", made["id"])
    assert [row["id"] for row in listed["data"]] == [newer["id"]]
    assert gone["code"] == "provider_key_not_found"
    assert budget["daily"]["amount_usd"] == "1.5000" and budget["monthly"] is None


def test_own_key_serves_in_its_mode_for_the_fee_that_was_accepted(world: World, server: Server) -> None:
    world.key("end_user", "sk-alice")
    notice(server)
    program = """
        const faucet = faucetOf({ mode: "byok", locale: "zh-CN" });
        const { fees, language } = await faucet.fees.list();
        const [byok] = fees.filter(({ mode }) => mode === "byok");
        const before = await faucet.generate("Hi");
        await faucet.fees.accept("byok", byok.fee_usd);
        give({ byok, language, before: before.route_mode });
        await new Promise((resolve) => process.stdin.once("data", resolve));
        const after = await faucet.generate("Hi");
        faucet.setMode("platform");
        give({ after: [after.route_mode, after.price_usd], platform: (await faucet.generate("Hi")).route_mode });
        process.exit();
    """
    with running(program, stdin=True, **of(world)) as process:
        told = next_line(process)
        assert (told["byok"]["fee_usd"], told["byok"]["acknowledged"]) == ("0.0015", False)
        assert told["language"].startswith("zh") and told["before"] == "platform"
        notice(server)
        go_on(process)
        assert next_line(process) == {"after": ["byok", "0.0015"], "platform": "platform"}


def test_local_usage_is_taken_once_and_charged_the_accepted_fee(world: World) -> None:
    world.acknowledge("local")
    given = run(
        """
        import { createServer } from "node:http";
        const bridge = createServer((request, response) => {
          response.setHeader("content-type", "application/json");
          const models = [{ id: "tiny" }];
          const ollama = { name: "o", kind: "ollama", local: true, enabled: true, health: { state: "up" }, models };
          const status = { name: "modelfaucet-bridge", version: "0", ok: true, reports: false, endpoints: [ollama] };
          const choices = [{ message: { role: "assistant", content: "local" }, finish_reason: "stop" }];
          const answer = { model: "tiny", choices, usage: { prompt_tokens: 7, completion_tokens: 3 } };
          response.end(JSON.stringify(request.url === "/status" ? status : answer));
        });
        await new Promise((resolve) => bridge.listen(0, "127.0.0.1", resolve));
        const bridgeUrl = `http://127.0.0.1:${bridge.address().port}`;
        const faucet = faucetOf({ mode: "local", bridgeUrl, bridgeToken: "mf_local_x" });
        const answer = await faucet.generate("A secret");
        const receipt = await answer.receipt();
        const { reports } = faucet.local;
        give({ answer, receipt, pending: await reports.pending(), flush: await reports.flush() });
        process.exit();
        """,
        **of(world),
    )
    assert (given["answer"]["text"], given["answer"]["route_mode"]) == ("local", "local")
    event = world.event()
    assert (event.route_mode, event.input_tokens, event.output_tokens) == ("local", 7, 3)
    assert event.price_nano == FEES.local_fee
    assert given["receipt"]["request_id"] == event.request_id
    assert (given["pending"], given["flush"]["pending"]) == ([], 0)
