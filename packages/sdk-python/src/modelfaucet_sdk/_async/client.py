"""The client of a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import httpx

from modelfaucet_sdk._async.features import AsyncFeature
from modelfaucet_sdk._async.local import AsyncBridge, AsyncLocal
from modelfaucet_sdk._async.money import AsyncBudget, AsyncFees, AsyncTopUps, AsyncWallet
from modelfaucet_sdk._async.resources import (
    AsyncModels,
    AsyncProviderKeys,
    AsyncReceipts,
    AsyncUsage,
    AsyncVirtualKeys,
)
from modelfaucet_sdk._async.sessions import AsyncSessionKeeper, AsyncSessions, is_renewable
from modelfaucet_sdk._async.streams import AsyncStream
from modelfaucet_sdk._async.transport import Answer, AsyncTransport
from modelfaucet_sdk._concurrency import AsyncTokenSource
from modelfaucet_sdk.answers import ChatAssembler, chat_result, embeddings_result
from modelfaucet_sdk.calls import MODES, Call, Messages, Mode, base_of, call, chat_body, given, messages_of, with_wish
from modelfaucet_sdk.errors import AuthenticationError
from modelfaucet_sdk.results import ChatResult, EmbeddingsResult, Record, Session, read_object
from modelfaucet_sdk.retries import RetryPolicy
from modelfaucet_sdk.user_tokens import sign_user_token

# Seconds. Long answers that are not streamed take minutes before their first byte.
TIMEOUT = httpx.Timeout(300, connect=10, pool=30)


class AsyncFaucet:
    """A gateway, as seen by whoever the credentials stand for.

    `base_url` is the instance's address, with or without /v1; `app_id` the public app id. Of the credentials give those
    that you have, on a server `app_secret`, for an engineer's own program `virtual_key`, in an app of the user's
    `user_token` (a text, or what fetches one from your backend), `session_token`, or, where the app lets anonymous
    devices in, `device_id`. `developer_token` is for virtual keys and the app's usage.

    `mode` is whose key serves: `auto` leaves it to the app, `platform`, `byok` the end user's own, `local` a model on
    this machine: then prompts go to the bridge and nowhere else. `timeout` is in seconds or an httpx.Timeout.
    """

    def __init__(
        self,
        base_url: str,
        app_id: str | None = None,
        *,
        app_secret: str | None = None,
        user_token: AsyncTokenSource | None = None,
        session_token: str | None = None,
        virtual_key: str | None = None,
        device_id: str | None = None,
        developer_token: str | None = None,
        feature_key: str | None = None,
        session_ttl: int | None = None,
        mode: Mode = "auto",
        bridge: AsyncBridge | None = None,
        language: str | None = None,
        timeout: float | httpx.Timeout = TIMEOUT,
        max_retries: int = 2,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        fixed = [token for token in (session_token, virtual_key) if token is not None]
        proofs = [proof for proof in (user_token, device_id) if proof is not None]
        if len(fixed) + len(proofs) > 1:
            raise ValueError("give one of session_token, virtual_key, user_token and device_id")
        if proofs and app_id is None:
            raise ValueError("user_token and device_id open sessions of an app: give app_id")
        self.base_url = base_of(base_url)
        self.app_id = app_id
        self._app_secret = app_secret
        self._developer_token = developer_token
        self._language = language
        self._bridge = bridge
        self.mode = mode
        client = http_client or httpx.AsyncClient(timeout=timeout)
        self._closes = http_client is None
        self._transport = AsyncTransport(self.base_url, client, RetryPolicy(retries=max_retries))
        self._keeper = AsyncSessionKeeper(
            self._transport,
            fixed=fixed[0] if fixed else None,
            app_id=app_id,
            user_token=user_token,
            device_id=device_id,
            feature_key=feature_key,
            ttl=session_ttl,
        )
        self._add_resources()

    def _add_resources(self) -> None:
        self.sessions = AsyncSessions(self._transport, self.app_id, self._app_secret)
        self.models = AsyncModels(self.request)
        self.keys = AsyncProviderKeys(self.request)
        self.virtual_keys = AsyncVirtualKeys(self.request, self.app_id)
        self.wallet = AsyncWallet(self.request)
        self.top_ups = AsyncTopUps(self.request)
        self.budget = AsyncBudget(self.request)
        self.fees = AsyncFees(self.request)
        self.usage = AsyncUsage(self.request, self.app_id)
        self.receipts = AsyncReceipts(self.request)
        self.local = AsyncLocal(self.request, self._bridge)

    @property
    def mode(self) -> Mode:
        """Whose key serves the calls that name no mode themselves."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in MODES:
            raise ValueError(f"mode takes {', '.join(MODES)}")
        self._mode = mode

    def user_token(self, external_user_id: str, *, ttl: int = 300) -> str:
        """Sign a user token for one of the app's users: your backend's answer to the user's own app.

        It is made here, without a request. `ttl` is in seconds, at most 3600.
        """
        if self.app_id is None or self._app_secret is None:
            raise ValueError("user_token needs app_id and app_secret")
        return sign_user_token(external_user_id, app_id=self.app_id, app_secret=self._app_secret, ttl=ttl)

    def for_user(self, external_user_id: str, *, feature_key: str | None = None) -> AsyncFaucet:
        """Return a client that calls as one of the app's users, over the same connections.

        Its session is opened when it is needed, with a user token: the app's secret stays here.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._closes = False
        other._keeper = AsyncSessionKeeper(
            self._transport,
            app_id=self.app_id,
            user_token=lambda: self.user_token(external_user_id),
            feature_key=feature_key,
        )
        other.user_token(external_user_id)  # now rather than at the first call: says what is missing
        other._add_resources()
        return other

    async def session(self) -> Session:
        """Return the session that calls go out with, opened or renewed where it has to be."""
        return await self._keeper.session()

    async def sign_out(self) -> None:
        """End the session at once; the next call opens another one."""
        await self.request(call("DELETE", "sessions", "current"))
        self._keeper.forget()

    async def chat(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        mode: Mode | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **body: Any,
    ) -> ChatResult:
        """Return the answer to a conversation (OpenAI's messages, or the user's text).

        Whatever else `POST /v1/chat/completions` takes may be named (`temperature`, `tools`, `max_tokens`, …), and what
        is asked of the route: `policy`, `prefer`, `max_price_usd`, `min_quality`, `require`. Without a model the
        feature's default is called. A repetition with the same `idempotency_key` answers the same and costs nothing.
        """
        made = self._chat_call(messages, model, mode, idempotency_key, timeout, body, stream=False)
        if (mode or self.mode) == "local":
            return await self._local().chat(made)
        answer = await self.request(made)
        return chat_result(answer.body, answer.headers)

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        mode: Mode | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **body: Any,
    ) -> AsyncStream[ChatResult]:
        """Return the answer as a stream, for a `with` block; takes what `chat` takes. `timeout` is between pieces."""
        made = self._chat_call(messages, model, mode, idempotency_key, timeout, body, stream=True)
        if (mode or self.mode) == "local":
            return self._local().stream(made)
        return AsyncStream(lambda: self.open(made), ChatAssembler)

    async def generate(self, prompt: str, *, system: str | None = None, **more: Any) -> ChatResult:
        """Return the answer to one prompt; takes what `chat` takes. `str()` of it is the text."""
        return await self.chat(messages_of(prompt, system), **more)

    def feature(self, key: str) -> AsyncFeature:
        """Return a typed feature of the app: call it with its input."""
        return AsyncFeature(key, self)

    async def embeddings(
        self,
        input: str | Sequence[str],
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **body: Any,
    ) -> EmbeddingsResult:
        """Return one vector for each input, in order."""
        texts = input if isinstance(input, str) else list(input)
        content = with_wish({"input": texts, **given(model=model, **body)}, mode=self.mode, wish={})
        if self.mode == "local":
            return await self._local().embeddings(call("POST", "embeddings", json=content, timeout=timeout))
        made = call("POST", "embeddings", json=content, keyed=True, idempotency_key=idempotency_key, timeout=timeout)
        answer = await self.request(made)
        return embeddings_result(answer.body, answer.headers)

    async def estimate(self, messages: Messages, *, model: str | None = None, **body: Any) -> Record:
        """Return what a chat can cost at most, and on which route, without calling."""
        content = chat_body(messages_of(messages), mode=self.mode, stream=False, body={"model": model, **body})
        return read_object((await self.request(call("POST", "estimate", json=content, repeatable=True))).body)

    async def page_link(self, *, embed: bool = False) -> Record:
        """Return a link, good once and for minutes, that opens the end user's own pages of the gateway."""
        return read_object((await self.request(call("POST", "user", "page-links", json={"embed": embed}))).body)

    async def ask(
        self,
        method: str,
        *path: str,
        json: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        by: Literal["user", "developer", "nobody"] = "user",
        idempotency_key: str | None = None,
    ) -> Record:
        """Ask for anything else of the API: `ask("GET", "apps", app_id, by="developer")`; `by` says whose token."""
        made = call(method, *path, json=json, query=query, by=by, idempotency_key=idempotency_key)
        body = (await self.request(made)).body
        return read_object(body) if body else Record()

    def _chat_call(
        self,
        messages: Messages,
        model: str | None,
        mode: Mode | None,
        key: str | None,
        timeout: float | None,
        body: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Call:
        content = chat_body(messages_of(messages), mode=mode or self.mode, stream=stream, body={"model": model, **body})
        return call("POST", "chat", "completions", json=content, keyed=True, idempotency_key=key, timeout=timeout)

    def _local(self) -> AsyncBridge:
        if self._bridge is None:
            raise ValueError("mode 'local' needs bridge=AsyncBridge(token)")
        return self._bridge

    async def request(self, made: Call) -> Answer:
        """Send a call with the token that it needs; one that is refused for its session is sent with a new one."""
        token = await self._token(made)
        try:
            return await self._transport.send(self._told(made), token)
        except AuthenticationError as error:
            if not self._may_renew(made, error):
                raise
        return await self._transport.send(self._told(made), (await self._keeper.session(instead_of=token)).token)

    async def open(self, made: Call) -> httpx.Response:
        """Open the answer to a call for reading piece by piece; else as `request`."""
        token = await self._token(made)
        try:
            return await self._transport.open(self._told(made), token)
        except AuthenticationError as error:
            if not self._may_renew(made, error):
                raise
        return await self._transport.open(self._told(made), (await self._keeper.session(instead_of=token)).token)

    def _may_renew(self, made: Call, error: AuthenticationError) -> bool:
        return made.by == "user" and self._keeper.can_renew and is_renewable(error)

    async def _token(self, made: Call) -> str | None:
        if made.by == "nobody":
            return None
        if made.by == "developer":
            if self._developer_token is None:
                raise ValueError("this needs developer_token")
            return self._developer_token
        return await self._keeper.token()

    def _told(self, made: Call) -> Call:
        if self._language is None:
            return made
        return Call(**{**vars(made), "headers": {"accept-language": self._language, **made.headers}})

    async def close(self) -> None:
        """Close the connections, unless they were given or belong to the client that this one was made of.

        Usage of the bridge that is not reported yet is reported, if that works; else it is kept.
        """
        await self.local.try_flush()
        if self._closes:
            await self._transport.aclose()

    async def __aenter__(self) -> AsyncFaucet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, app_id={self.app_id!r}, mode={self.mode!r})"
