"""What a model server is, what models it has and what they can do: each kind in its own words."""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from modelfaucet_bridge.config import Channel

SECONDS = 4.0
CHAT, EMBEDDINGS = "chat", "embeddings"
_EMBEDDING_NAMES = ("embed", "bge-", "gte-", "e5-", "minilm")


@dataclass(frozen=True)
class Model:
    """A model as it is offered: `context_window` in tokens, None if the server does not say."""

    id: str
    context_window: int | None = None
    capabilities: tuple[str, ...] = (CHAT,)

    @property
    def answers(self) -> str:
        return EMBEDDINGS if EMBEDDINGS in self.capabilities else CHAT


@dataclass(frozen=True)
class Health:
    """What the last look at a channel has shown. `state` is up, down or unknown; `at` is seconds since 1970."""

    state: str = "unknown"
    at: float = 0
    latency_ms: int | None = None
    error: str | None = None
    models: tuple[Model, ...] = field(default=())


class ProbeError(Exception):
    """The server did not answer as a model server does."""


async def look(client: httpx.AsyncClient, channel: Channel, key: str = "") -> Health:
    """Ask a channel for its models. Never raises: what is wrong is in the answer."""
    started = time.monotonic()
    try:
        models = await _models(client, channel, key)
    except ProbeError as error:
        known = tuple(Model(name, None, _guess(name)) for name in channel.models)
        return Health("down", time.time(), None, str(error), known)
    if channel.models:  # the person has said which ones to offer
        seen = {model.id: model for model in models}
        models = [seen.get(name) or Model(name, None, _guess(name)) for name in channel.models]
    return Health("up", time.time(), int((time.monotonic() - started) * 1000), None, tuple(models))


async def is_a(client: httpx.AsyncClient, kind: str, base_url: str) -> bool:
    """Tell whether the server at an address is of this kind, as other programs use the same ports."""
    root = _root(base_url)
    try:
        if kind == "ollama":
            return "version" in await _get(client, f"{root}/api/version")
        if kind == "lm_studio":
            return isinstance((await _get(client, f"{root}/api/v0/models")).get("data"), list)
        listed = (await _get(client, f"{base_url}/models")).get("data")
        owners = {item.get("owned_by") for item in listed or [] if isinstance(item, dict)}
        if kind == "vllm":
            return "vllm" in owners
        return "llamacpp" in owners or "default_generation_settings" in await _get(client, f"{root}/props")
    except ProbeError:
        return False


async def _models(client: httpx.AsyncClient, channel: Channel, key: str) -> list[Model]:
    root = _root(channel.base_url)
    if channel.kind == "lm_studio":
        try:
            return [_lm_studio(item) for item in _items(await _get(client, f"{root}/api/v0/models", key))]
        except ProbeError:
            pass  # before 0.3.6 there is only the other list
    items = _items(await _get(client, f"{channel.base_url}/models", key))
    if channel.kind == "ollama":
        return [await _ollama(client, root, item["id"], key) for item in items]
    if channel.kind == "llama_cpp":
        return await _llama_cpp(client, root, items, key)
    return [_plain(item) for item in items]


def _plain(item: dict[str, Any]) -> Model:
    window = item.get("max_model_len") or item.get("context_window") or item.get("context_length")
    return Model(item["id"], _whole(window), _guess(item["id"]))


def _lm_studio(item: dict[str, Any]) -> Model:
    if item.get("type") == EMBEDDINGS:
        abilities: tuple[str, ...] = (EMBEDDINGS,)
    else:
        more = item.get("capabilities") or []
        tools = ("tools",) if "tool_use" in more else ()
        abilities = (CHAT, *tools, *(("vision",) if item.get("type") == "vlm" else ()))
    window = item.get("loaded_context_length") or item.get("max_context_length")
    return Model(item["id"], _whole(window), abilities)


async def _ollama(client: httpx.AsyncClient, root: str, name: str, key: str) -> Model:
    try:
        shown = await _get(client, f"{root}/api/show", key, body={"model": name})
    except ProbeError:
        return Model(name, None, _guess(name))
    info = shown.get("model_info") or {}
    window = next((value for label, value in info.items() if label.endswith(".context_length")), None)
    said = shown.get("capabilities")
    if not isinstance(said, list):
        return Model(name, _whole(window), _guess(name))
    if "embedding" in said:
        return Model(name, _whole(window), (EMBEDDINGS,))
    words = {"tools": "tools", "vision": "vision", "thinking": "reasoning"}
    return Model(name, _whole(window), (CHAT, *(words[ability] for ability in said if ability in words)))


async def _llama_cpp(client: httpx.AsyncClient, root: str, items: list[dict[str, Any]], key: str) -> list[Model]:
    try:
        props = await _get(client, f"{root}/props", key)
    except ProbeError:
        props = {}
    window = _whole((props.get("default_generation_settings") or {}).get("n_ctx"))
    sees = bool((props.get("modalities") or {}).get("vision"))
    models = []
    for item in items:
        meta = item.get("meta") if isinstance(item.get("meta"), dict) else {}
        abilities = _guess(item["id"])
        if sees and CHAT in abilities:
            abilities = (*abilities, "vision")
        models.append(Model(item["id"], window or _whole((meta or {}).get("n_ctx_train")), abilities))
    return models


def _items(content: dict[str, Any]) -> list[dict[str, Any]]:
    listed = content.get("data")
    if not isinstance(listed, list):
        raise ProbeError("the list of models is not one")
    return [item for item in listed if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _guess(name: str) -> tuple[str, ...]:
    return (EMBEDDINGS,) if any(part in name.lower() for part in _EMBEDDING_NAMES) else (CHAT,)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _root(base_url: str) -> str:
    return base_url.removesuffix("/v1")


async def _get(
    client: httpx.AsyncClient, url: str, key: str = "", body: dict[str, Any] | None = None
) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    method = "GET" if body is None else "POST"
    try:
        answer = await client.request(method, url, headers=headers, json=body, timeout=SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProbeError(f"no answer ({type(error).__name__})") from None
    if answer.status_code in (401, 403):
        raise ProbeError("the key is refused" if key else "it wants a key")
    if not answer.is_success:
        raise ProbeError(f"it answered {answer.status_code}")
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ProbeError("the answer is not JSON")
    return content
