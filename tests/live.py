"""A running gateway for tests: uvicorn on a real socket, over the test's database, before a provider double."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from django.db.models import Exists, OuterRef

from apps.billing.services import verify as verify_billing
from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import add_model, add_offer, add_provider
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.services.developers import create_developer
from apps.features.queries import authenticate, feature_by_key
from apps.features.services.apps import create_app
from apps.features.services.end_users import ensure_end_user
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import issue_virtual_key, open_session
from apps.gateway.health import process_health
from apps.ledger.models import AccountKind, Hold
from apps.ledger.queries import Balance, balance
from apps.ledger.services import verify as verify_ledger
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.usage.models import UsageEvent
from apps.usage.services import verify as verify_usage
from apps.usage.services.limits import create_limit_rule
from apps.usage.services.rating import rate_pending
from apps.vault.services.credentials import add_credential
from apps.vault.services.fees import acknowledge_fee

ACTOR = "test"
TIER = PriceTier(
    0,
    input=nano_from_usd("3"),
    cache_read=nano_from_usd("0.30"),
    cache_write=nano_from_usd("3.75"),
    output=nano_from_usd("15"),
)
TERMS = TermsInput(markup_bps=4_000, share_bps=4_000)
MODEL = "test-model"


@dataclass
class World:
    """One developer with an app and a funded end user, and a model served by the providers given."""

    base_url: str = ""
    developer_id: str = ""
    app_id: str = ""
    end_user_id: str = ""
    account_id: int = 0
    token: str = ""
    offers: list[int] = field(default_factory=list)

    def headers(self, **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in more.items()}}

    def chat(self, text: str = "Say hello", *, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        """Send one chat completion and return the whole answer."""
        return httpx.post(
            f"{self.base_url}/v1/chat/completions",
            json=self.body(text, **body),
            headers=self.headers(**(headers or {})),
            timeout=60,
        )

    @contextmanager
    def stream(self, text: str = "Say hello", **body: Any) -> Iterator[httpx.Response]:
        """Open one streamed chat completion."""
        with httpx.stream(
            "POST",
            f"{self.base_url}/v1/chat/completions",
            json=self.body(text, stream=True, **body),
            headers=self.headers(),
            timeout=60,
        ) as response:
            yield response

    def body(self, text: str, **body: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": text}], **body}

    def balance(self) -> Balance:
        """Return the payer's balance once the gateway has shrunk the holds of what it has answered.

        It does so just after the answer left; three seconds are far more than it takes.
        """
        deadline = time.monotonic() + 3
        while _unmetered(self.account_id) and time.monotonic() < deadline:
            time.sleep(0.005)
        return balance(self.account_id)

    def fund(self, usd: str, *, key: str = "") -> None:
        grant(
            self.account_id,
            nano_from_usd(usd),
            idempotency_key=key or f"fund:{self.account_id}:{time.monotonic_ns()}",
            now=now(),
            actor=ACTOR,
        )

    def new_session(self, external_id: str = "", *, usd: str = "0", **app: Any) -> "World":
        """Return the same world as seen by another end user of the app."""
        moment = now()
        user = ensure_end_user(
            app_id=self.app_id, external_id=external_id or f"user-{time.monotonic_ns()}", anonymous=False, now=moment
        )
        session = open_session(
            app_id=self.app_id, feature_key=None, end_user_id=user, assurance="user_token", ttl=3600, now=moment
        )
        other = World(
            base_url=self.base_url,
            developer_id=self.developer_id,
            app_id=self.app_id,
            end_user_id=user,
            account_id=open_account(kind=AccountKind.END_USER, owner_id=user, now=moment),
            token=session.token,
            offers=self.offers,
        )
        if usd != "0":
            other.fund(usd)
        return other

    def virtual_key(self, *, usd: str = "0") -> str:
        """Issue a virtual key of the app and fund its developer's credit."""
        if usd != "0":
            account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=self.developer_id, now=now())
            grant(account, nano_from_usd(usd), idempotency_key=f"key:{time.monotonic_ns()}", now=now(), actor=ACTOR)
        return issue_virtual_key(app_id=self.app_id, name="test", now=now(), actor=ACTOR)[0]

    def key(self, owner_class: str, secret: str, *, provider: str = "double-0", **more: Any) -> str:
        """Add a provider key of the platform, the operator, this developer or this end user and return its id."""
        owner = {"developer": self.developer_id, "end_user": self.end_user_id}.get(owner_class, "")
        values = {"owner_class": owner_class, "owner_id": owner, "provider": provider, "label": secret, **more}
        return add_credential(secret=secret, now=now(), actor=ACTOR, **values)

    def acknowledge(self, mode: str = "byok") -> int:
        """Take note of the present fee of a mode, as this end user, and return it in nano-USD."""
        terms = authenticate(self.token, now=now()).terms
        fee = terms.byok_fee if mode == "byok" else terms.local_fee
        said = {"end_user_id": self.end_user_id, "app_id": self.app_id, "terms": terms, "mode": mode, "fee": fee}
        acknowledge_fee(**said, language="en", now=now())
        return fee

    def manifest(self, feature: str = "default", **content: Any) -> None:
        """Put a manifest with this content in force for a feature, which is made if there is none."""
        found = feature_by_key(self.app_id, feature)
        values: dict[str, Any] = {"now": now(), "actor": ACTOR}
        feature_id = found.id if found else create_feature(app_id=self.app_id, key=feature, name=feature, **values)
        source = json.dumps(content)
        put_manifest(feature_id=feature_id, source=source, source_format="json", may_price=True, **values)

    def limit(self, scope: str, scope_id: str = "", **limits: Any) -> str:
        """Add a limit rule and return its id."""
        return create_limit_rule(scope=scope, scope_id=scope_id, now=now(), actor=ACTOR, **limits)

    def event(self, response: httpx.Response | None = None) -> UsageEvent:
        """Return the one usage event of this end user, or the one of an answer."""
        events = UsageEvent.objects.filter(end_user_id=self.end_user_id)
        if response is not None:
            events = events.filter(request_id=response.headers["x-request-id"])
        return events.get()

    def wait_for_event(self, seconds: float = 10) -> UsageEvent:
        """Return this end user's one usage event once it is there."""
        wait_until(lambda: UsageEvent.objects.filter(end_user_id=self.end_user_id).exists(), seconds)
        return self.event()


def make_world(
    base_url: str,
    *provider_urls: str,
    usd: str = "10",
    tier: PriceTier = TIER,
    terms: TermsInput = TERMS,
    max_output_tokens: int = 1000,
    affordable_clamp: bool = True,
    tokenizer: str = "o200k_base",
) -> World:
    """Make a world whose model is offered by each of the providers, tried in this order."""
    moment = now()
    world = World(base_url=base_url)
    add_model(id=MODEL, name=MODEL, now=moment, actor=ACTOR)
    for number, url in enumerate(provider_urls):
        name = f"double-{number}"
        add_provider(
            id=name, name=name, base_url=url, resale_allowed=True, trains_on_data=False, now=moment, actor=ACTOR
        )
        offer = add_offer(
            provider=name,
            model=MODEL,
            upstream_model=MODEL,
            capabilities=("chat", "stream", "tools"),
            tokenizer=tokenizer,
            priority=number,
            now=moment,
            actor=ACTOR,
        )
        publish_price(offer, [tier], moment, "test", now=moment, actor=ACTOR)
        add_credential(
            owner_class="platform", provider=name, label=name, secret=f"sk-double-{number}", now=moment, actor=ACTOR
        )
        world.offers.append(offer)
    world.developer_id = create_developer("Test", f"{time.monotonic_ns()}@example.com", now=moment, actor=ACTOR)
    world.app_id = create_app(
        developer_id=world.developer_id,
        name="Test app",
        terms=terms,
        default_model=MODEL,
        max_output_tokens=max_output_tokens,
        now=moment,
        actor=ACTOR,
    )
    if not affordable_clamp:
        from apps.features.queries import features_of_app
        from apps.features.services.features import update_feature

        for feature in features_of_app(world.app_id):
            update_feature(feature_id=feature.id, affordable_clamp=False, now=moment, actor=ACTOR)
    return world.new_session("alice", usd=usd)


class _PromptServer(uvicorn.Server):
    """Looks ten times as often whether it is to end: a thousand tests each end one."""

    async def main_loop(self) -> None:
        ticks = 0
        while not self.should_exit:
            if ticks % 10 == 0 and await self.on_tick(ticks // 10):
                return
            ticks += 1
            await asyncio.sleep(0.01)


class Server:
    """uvicorn in a thread of its own, over the ASGI application of this process."""

    def __init__(self) -> None:
        from apps.gateway.app import Gateway
        from apps.gateway.bridges.consumer import bridge_socket
        from modelfaucet.asgi import django_application
        from modelfaucet.protocol import BoundedHeads

        gateway = Gateway(fallback=django_application)
        served = {"lifespan": gateway.lifespan, "http": gateway, "websocket": bridge_socket(gateway.runtime)}

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await served[scope["type"]](scope, receive, send)

        self.gateway = gateway
        self.socket = socket.socket(proto=socket.IPPROTO_TCP)  # with its protocol named, asyncio sets TCP_NODELAY
        self.socket.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(
            application,
            http=BoundedHeads,
            ws_per_message_deflate=False,
            log_level="warning",
            lifespan="on",
            access_log=False,
            log_config=None,
        )
        self.server = _PromptServer(config)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.socket]))

    def __enter__(self) -> "Server":
        self.thread.start()
        wait_until(lambda: self.server.started, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.socket.close()
        assert not self.thread.is_alive(), "the server did not end"


def _unmetered(account_id: int) -> bool:
    stored = UsageEvent.objects.filter(request_id=OuterRef("request_id"))
    return Hold.objects.filter(Exists(stored), account_id=account_id, state="open", stage="dispatched").exists()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return when `condition` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def notice(server: Server, seconds: float = 10) -> None:
    """Return once the gateway has looked for changes; fail where that takes too long."""
    runtime = server.gateway._runtime
    assert runtime is not None

    def look() -> None:
        began = runtime.loop.time()
        wait_until(lambda: runtime._feed._last > began, seconds)

    look()  # which may have begun before the change
    look()


def heal() -> None:
    """Forget that any provider has failed in this process, so that the next call is sent to it."""
    health = process_health()
    for reading in health.readings():
        health.success(reading.key)


def rate_all() -> int:
    """Rate everything that is unrated and return how many events that were."""
    total = 0
    while taken := rate_pending(now=now()):
        total += taken
    return total


def differences() -> list[str]:
    """Return what `verify_ledger` would name."""
    found = [*verify_ledger.differences(), *verify_usage.differences(), *verify_billing.differences()]
    return [f"{d.table} {d.row_id}: {d.message}" for d in found]
