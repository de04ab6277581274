"""A model server with real sockets, a webhook receiver, a gateway's end for reports, and a bridge as a real process."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from modelfaucet_bridge.cli import main

HERE = Path(__file__).parent
CHAT = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 500,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 100},
}
CANARY = "canary-7f3a-the-secret-recipe"


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


class Served:
    """An ASGI application on a free port of this machine, in a thread."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1, log_config=None)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(5)
        self.socket.close()


class ModelServer:
    """An OpenAI-compatible server. What it does is in the name of the model."""

    def __init__(self, kind: str = "openai_compatible", models: tuple[str, ...] = ("m",), key: str = "") -> None:
        self.kind, self.models, self.key = kind, list(models), key
        self.calls: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.left = threading.Event()
        self.sent = 0
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                Route("/v1/models", self._list),
                Route("/api/version", self._version),
                Route("/api/show", self._show, methods=["POST"]),
                Route("/api/v0/models", self._studio),
                Route("/props", self._props),
            ]
        )
        self.served = Served(app)
        self.base_url = f"{self.served.url}/v1"

    async def _list(self, request: Request) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "no"}}, 401)
        owner = {"vllm": "vllm", "llama_cpp": "llamacpp"}.get(self.kind, "library")
        extra = {"max_model_len": 4096} if self.kind == "vllm" else {}
        data = [{"id": name, "object": "model", "owned_by": owner, **extra} for name in self.models]
        return JSONResponse({"object": "list", "data": data})

    def _only(self, kind: str, content: Any) -> Response:
        return JSONResponse(content) if self.kind == kind else PlainTextResponse("no", 404)

    async def _version(self, request: Request) -> Response:
        return self._only("ollama", {"version": "0.12.0"})

    async def _show(self, request: Request) -> Response:
        name = (await request.json())["model"]
        said = ["embedding"] if "embed" in name else ["completion", "tools", "vision", "thinking"]
        return self._only("ollama", {"capabilities": said, "model_info": {"llama.context_length": 8192}})

    async def _studio(self, request: Request) -> Response:
        data = [{"id": "qwen-vl", "type": "vlm", "max_context_length": 32768, "capabilities": ["tool_use"]}]
        data += [{"id": "nomic", "type": "embeddings", "max_context_length": 2048}]
        return self._only("lm_studio", {"object": "list", "data": data})

    async def _props(self, request: Request) -> Response:
        content = {"default_generation_settings": {"n_ctx": 2048}, "modalities": {"vision": True}}
        return self._only("llama_cpp", content)

    async def _note(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        self.calls.append((request.url.path, dict(request.headers), body))
        return dict(body)

    async def _chat(self, request: Request) -> Response:
        body = await self._note(request)
        name = body["model"]
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "bad key", "code": "invalid_api_key"}}, 401)
        if name == "busy":
            error = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited"}}
            return JSONResponse(error, 429, {"retry-after": "7"})
        if name == "html":
            return PlainTextResponse("<h1>Bad gateway</h1>", 502, media_type="text/html")
        if name == "slow-json":
            for _ in range(100):
                if await request.is_disconnected():
                    self.left.set()
                    break
                await asyncio.sleep(0.05)
        if body.get("stream"):
            asked = body.get("stream_options", {}).get("include_usage") and name != "no-usage"
            return StreamingResponse(self._events(request, name, asked), media_type="text/event-stream")
        message = {"role": "assistant", "content": "Hello there 你好"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {} if name == "no-usage" else {"usage": USAGE}
        return JSONResponse({**CHAT, "model": name, "choices": [choice], **usage})

    async def _events(self, request: Request, name: str, usage: Any) -> Any:
        def event(**chunk: Any) -> bytes:
            return (
                f"data: {json.dumps({**CHAT, 'object': 'chat.completion.chunk', 'model': name, **chunk})}\n\n".encode()
            )

        try:
            for position in range(400 if name == "endless" else 3):
                delta = {"index": 0, "delta": {"content": f"word{position} "}, "finish_reason": None}
                yield event(choices=[delta])
                self.sent += 1
                if name == "endless":
                    await asyncio.sleep(0.02)
                if name == "breaks" and position == 1:
                    raise ConnectionError
            yield event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
            if usage:
                yield event(choices=[], usage=USAGE)
            yield b"data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise

    async def _responses(self, request: Request) -> Response:
        await self._note(request)
        if self.kind == "ollama":
            return PlainTextResponse("404 page not found", 404)
        usage = {"input_tokens": 12, "output_tokens": 3}
        return JSONResponse({"id": "resp_1", "object": "response", "output": [], "usage": usage})

    async def _embeddings(self, request: Request) -> Response:
        await self._note(request)
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return JSONResponse({"object": "list", "data": data, "model": "e", "usage": usage})


class Inbox:
    """Receives webhooks and usage reports; `failing` answers are 503 first."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.reports: dict[tuple[str, str], dict[str, Any]] = {}
        self.bot_code = 0
        self.drop_answers = 0
        self.unpaid = 0  # so many reports are refused for want of funds
        self.states: dict[str, str] = {}
        app = Starlette(
            routes=[
                Route("/v1/local/usage-reports", self._report, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/{rest:path}", self._take, methods=["POST"]),
            ]
        )
        self.served = Served(app)
        self.url = self.served.url

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"error": {}}, 401)

    async def _take(self, request: Request) -> Response:
        self.got.append((request.url.path, dict(request.headers), await request.body()))
        if self.failing > 0:
            self.failing -= 1
            return PlainTextResponse("later", 503)
        return JSONResponse({"code": self.bot_code, "msg": "ok"})

    async def _report(self, request: Request) -> Response:
        self.got.append((request.url.path, dict(request.headers), await request.body()))
        if self.failing > 0:
            self.failing -= 1
            return PlainTextResponse("later", 503)
        session, data = request.headers["authorization"], []
        if session == "Bearer mf_sess_expired":
            return JSONResponse({"error": {"code": "invalid_token"}}, 401)
        for report in (await request.json())["reports"]:
            key = (session, report["report_id"])
            if self.unpaid > 0:
                self.unpaid -= 1
                refused = {"state": "rejected", "error": {"code": "insufficient_funds"}}
                data.append({"report_id": report["report_id"], **refused})
                continue
            state = self.states.get(report["report_id"]) or ("duplicate" if key in self.reports else "accepted")
            self.reports.setdefault(key, report)
            data.append({"report_id": report["report_id"], "state": state, "request_id": "r", "price_usd": "0"})
        if self.drop_answers > 0:
            self.drop_answers -= 1
            return PlainTextResponse("lost on its way", 502)
        return JSONResponse({"object": "list", "data": data})


class Bench:
    """A bridge directory, the command over it, and the process that serves it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None
        self.url = self.page_url = ""
        self.output: list[str] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FEISHU" not in name and "MODELFAUCET" not in name},
            "MODELFAUCET_BRIDGE_HOME": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "src")]),
        }

    def run(self, *arguments: str, ok: bool = True, secret: str = "") -> str:
        """Run the command and return what it says."""
        environment = {**dict.fromkeys(os.environ), **self.environment}  # and nothing else: what is None is unset
        run = CliRunner().invoke(main, arguments, input=secret, env=environment)
        assert run.exception is None or isinstance(run.exception, SystemExit), run.exc_info
        assert (run.exit_code == 0) is ok, run.output
        self.returned = run.exit_code
        return run.output

    def init(self, *, discover: bool = False) -> None:
        self.run("init")
        if not discover:
            self.settings(lambda text: text.replace("enabled = true", "enabled = false", 1))

    def settings(self, change: Callable[[str], str]) -> None:
        path = self.home / "bridge.toml"
        path.write_text(change(path.read_text()))

    def channel(self, name: str, server: ModelServer, *more: str) -> None:
        self.run("channels", "add", name, "--kind", server.kind, "--base-url", server.base_url, *more)

    def start(self, *more: str) -> None:
        command = [sys.executable, "-m", "modelfaucet_bridge", "start", "--port", "0", *more]
        with (self.home / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Serving"):
                self.url = line.split()[1].removesuffix("/v1")
            if line.startswith("Page"):
                self.page_url = line.split()[1]
            if line.startswith("Token"):
                break
        assert self.url, (self.home / "stderr").read_text()
        until(self._answers)
        # Other commands find it where the settings say.
        self.settings(lambda text: re.sub(r"(?m)^port = \d+", f"port = {self.url.rpartition(':')[2]}", text))

    def _answers(self) -> bool:
        try:
            return bool(httpx.get(f"{self.url}/status", trust_env=False).json())
        except httpx.HTTPError:
            return False

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    @property
    def token(self) -> str:
        return str(json.loads((self.home / "secrets.json").read_text())["local-token"])

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, self.url + path, headers=headers, **options)

    def chat(self, model: str = "m", text: str = CANARY, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/chat/completions", json=body, headers=headers)

    def ready(self, *models: str) -> None:
        """Wait until these models are offered."""
        until(lambda: {*models} <= {model["id"] for model in self.ask("GET", "/v1/models").json()["data"]})

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/status").json()
        return found

    def endpoint(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.status()["endpoints"] if each["name"] == name)
        return found

    def ledger(self) -> list[dict[str, Any]]:
        lines = []
        for path in sorted((self.home / "ledger").glob("*.jsonl")):
            lines += [json.loads(line) for line in path.read_text().splitlines()]
        return lines


@contextmanager
def stopping(*things: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for thing in things:
            thing.served.stop()
