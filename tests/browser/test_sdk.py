"""The SDK's bundle in a page of another origin than the gateway that serves it, loaded as a module."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Page

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import app_by_id
from apps.features.services.apps import set_app_terms, update_app
from apps.features.services.terms import TermsInput
from apps.usage.models import UsageEvent
from apps.vault.services.app_secrets import issue_app_secret
from tests.browser.conftest import Browser
from tests.browser.host import Host, hosting
from tests.browser.walk import SERVED_BY_ASGI
from tests.live import ACTOR, Server, World, differences, notice, rate_all, wait_until
from tests.provider_double import Behaviour, ProviderDouble

pytestmark = SERVED_BY_ASGI
FEE = "0.0005"
TOKEN = "mf_local_page"
SCRIPT = """
import * as sdk from "{gateway}/static/sdk/0.1.0/faucet.js";
const token = async () => (await (await fetch("/token")).json()).user_token;
window.sdk = sdk;
window.faucet = sdk.createFaucet({ baseUrl: "{gateway}", publicAppId: "APP", userToken: token, bridgeUrl: "BRIDGE" });
document.title = "ready";
"""


class Bridge(ThreadingHTTPServer):
    """A local bridge with one model, for pages of any origin that know its token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _BridgeHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[dict[str, Any]] = []


class _BridgeHandler(BaseHTTPRequestHandler):
    server: Bridge
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        self._answer(204, None)

    def do_GET(self) -> None:
        models = [{"id": "tiny", "capabilities": ["chat"]}]
        endpoint = {"name": "o", "kind": "ollama", "local": True, "enabled": True, "health": {"state": "up"}}
        status: dict[str, Any] = {"name": "modelfaucet-bridge", "version": "0.1.0", "ok": True, "reports": False}
        if self.path == "/pair/pair_1":
            self._answer(200, {"state": "allowed", "token": TOKEN})
        elif self._knows():
            self._answer(200, {**status, "endpoints": [{**endpoint, "models": models}]})
        else:
            self._answer(200, status)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/pair":
            self._answer(202, {"pairing_id": "pair_1", "code": "4821", "expires_in": 120})
            return
        if not self._knows():
            self._answer(401, {"error": {"message": "no", "code": "invalid_token"}})
            return
        self.server.calls.append(body)
        message = {"role": "assistant", "content": "from here"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        self._answer(200, {"model": "tiny", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def _knows(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _answer(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("access-control-allow-origin", self.headers.get("origin", "null"))
        self.send_header("access-control-allow-headers", "authorization, content-type")
        self.send_header("access-control-allow-private-network", "true")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    running = Bridge()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join(10)


@pytest.fixture
def host(site: Browser, server: Server, world: World, bridge: Bridge) -> Iterator[Host]:
    """Give an app whose page has `faucet` of its user alice, who has 10 USD."""
    addresses.forget()
    terms = TermsInput(markup_bps=4_000, share_bps=4_000, local_fee=nano_from_usd(FEE))
    set_app_terms(app_id=world.app_id, terms=terms, now=now(), actor=ACTOR)
    app = app_by_id(world.app_id)
    assert app is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    with hosting(world.base_url, app.public_id, secret, bridge.url) as running:
        update_app(app_id=world.app_id, allowed_origins=[running.origin], now=now(), actor=ACTOR)
        notice(server)
        yield running
    # A browser logs each refusal and each request that a test blocks; what a page itself throws stays a problem.
    site.problems[:] = [each for each in site.problems if "Failed to load resource" not in each]


def opened(host: Host, page: Page) -> Page:
    """Open the app's page and return it once the SDK is there."""
    script = SCRIPT.replace("APP", host.public_app_id).replace("BRIDGE", host.bridge)
    host.files["/sdk.js"] = ("text/javascript", script.replace("{gateway}", host.gateway).encode())
    host.files["/sdk"] = (
        "text/html",
        b'<!doctype html><title>App</title><script type="module" src="/sdk.js"></script>',
    )
    page.goto(f"{host.origin}/sdk")
    page.wait_for_function("document.title === 'ready'")
    return page


def test_page_of_another_origin_streams_and_reads_all_it_may(
    site: Browser, host: Host, world: World, double: ProviderDouble
) -> None:
    page = opened(host, site.page())
    assert page.evaluate("Object.keys(sdk).includes('createFaucet') && !('faucet' in sdk)")
    double.script(Behaviour(text="小猫 🐈", one_byte_writes=True))
    streamed = page.evaluate(
        """async () => {
          const stream = faucet.stream({ prompt: "Hi" });
          let text = "";
          for await (const part of stream) text += part.text ?? "";
          const result = await stream.result;
          return { text, whole: result.text, id: result.request_id, price: result.price_usd, mode: result.route_mode };
        }"""
    )
    event = UsageEvent.objects.get()
    assert (streamed["text"], streamed["whole"], streamed["mode"]) == ("小猫 🐈", "小猫 🐈", "platform")
    assert (streamed["id"], nano_from_usd(streamed["price"])) == (event.request_id, event.price_nano)
    # Every method and header that the SDK sends passes the preflight, and every header that it reads is shown.
    told = page.evaluate(
        """async () => {
          const again = { prompt: "Once", idempotencyKey: "page-1" };
          const [first, second] = [await faucet.generate(again), await faucet.generate(again)];
          const budget = await faucet.budget.set({ daily_usd: "2" });
          const refused = await faucet.keys.update("cred_none", { label: "x" }).catch((error) => error);
          const gone = await faucet.keys.remove("cred_none").catch((error) => error);
          const usage = await faucet.usage.list();
          await faucet.signOut();
          return {
            same: first.request_id === second.request_id, price: first.price_usd, id: refused.requestId,
            name: refused.name, codes: [refused.code, gone.code],
            daily: budget.daily.amount_usd, calls: usage.totals.calls,
          };
        }"""
    )
    assert told["same"] and nano_from_usd(told["price"]) > 0 and told["id"].startswith("req_")
    assert (told["name"], told["codes"]) == ("NotFoundError", ["provider_key_not_found"] * 2)
    assert (told["daily"], told["calls"]) == ("2.0000", 2)
    assert page.evaluate("Object.keys(localStorage)") == []


def test_page_that_leaves_a_stream_closes_it(
    site: Browser, host: Host, world: World, double: ProviderDouble, settings: Any
) -> None:
    settings.DRAIN_SECONDS = 0.2
    page = opened(host, site.page())
    double.script(Behaviour(chunks=400, interval=0.05))
    finish = page.evaluate(
        """async () => {
          const stream = faucet.stream({ prompt: "A lot" });
          for await (const part of stream) break;
          return (await stream.result).finish_reason;
        }"""
    )
    assert finish == "aborted"
    double.wait_for(lambda: double.requests[0].closed_by_peer_at is not None, 15)
    assert world.wait_for_event().outcome == "client_left"


def test_page_of_an_origin_that_is_not_allowed_is_refused(site: Browser, host: Host, world: World) -> None:
    update_app(app_id=world.app_id, allowed_origins=["https://app.example.com"], now=now(), actor=ACTOR)
    page = opened(host, site.page())
    error = page.evaluate("faucet.generate('Hi').then(() => null, (error) => [error.name, error.code])")
    assert error == ["ConnectionError", "connection_failed"]
    assert not UsageEvent.objects.exists()
    site.problems[:] = [each for each in site.problems if "CORS" not in each]


def test_reports_of_two_pages_outlive_them_and_count_once(
    site: Browser, host: Host, world: World, bridge: Bridge
) -> None:
    world.acknowledge("local")
    first = opened(host, site.page())
    paired = first.evaluate(
        """async () => {
          const { code, allowed } = await faucet.local.pair({ appName: "Notes" });
          return [code, await allowed, (await faucet.local.models()).map(({ id }) => id)];
        }"""
    )
    assert paired == ["4821", True, ["tiny"]]
    context = first.context
    context.route("**/v1/local/usage-reports", lambda route: route.abort())
    second = opened(host, context.new_page())
    for page in (first, second):
        page.evaluate(
            """() => {
              faucet.setMode("local");
              window.calls = Promise.all([1, 2, 3].map((number) => faucet.generate(`A secret ${number}`)));
            }"""
        )
    for page in (first, second):
        assert page.evaluate("calls.then((all) => all.map(String))") == ["from here"] * 3
    waiting = first.evaluate("faucet.local.reports.pending()")
    assert len({report["report_id"] for report in waiting}) == 6
    assert not UsageEvent.objects.exists()
    first.close()
    second.close()
    context.unroute("**/v1/local/usage-reports")
    pages = [opened(host, context.new_page()) for _ in range(2)]
    for page in pages:
        page.evaluate("() => { window.sent = faucet.local.reports.flush(); }")
    counts = [page.evaluate("sent") for page in pages]
    assert sum(count["accepted"] for count in counts) <= 6  # a page's own first session may have sent some already
    wait_until(lambda: UsageEvent.objects.count() == 6, 10)
    # What a page's first session sent by itself is forgotten when its answer is there, a moment after it counts.
    pages[0].wait_for_function("faucet.local.reports.pending().then((waiting) => waiting.length === 0)")
    assert {event.price_nano for event in UsageEvent.objects.all()} == {nano_from_usd(FEE)}
    assert len(bridge.calls) == 6
    rate_all()
    assert differences() == []
