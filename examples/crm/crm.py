"""Harbour CRM's backend: it serves the pages, and signs who is signed in. It holds no provider key and sees no prompt.

    python crm.py prepare     make the three features in the app (once; again changes nothing)
    python crm.py serve       http://localhost:5180

Where the gateway is comes from FAUCET_BASE_URL, FAUCET_PUBLIC_APP_ID, FAUCET_APP_ID, FAUCET_APP_SECRET and, for
`prepare` alone, FAUCET_DEVELOPER_TOKEN; without them from the demo's var/demo.json (DEMO_JSON names another file).
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from modelfaucet_sdk import sign_user_token

HERE = Path(__file__).resolve().parent
SDK_VERSION = "0.1.0"
BRIDGE = "http://127.0.0.1:19088"
# The person that a real CRM would have signed in; the gateway keeps no more of the name than a keyed hash.
SIGNED_IN = "ada@harbour.example"
# What every user may spend a month at the app's expense, so that a new user needs to pay nothing to begin.
ALLOWANCE_USD = "0.10"
FEATURES = {"reply": "Draft a reply", "summary": "Sum up a conversation", "sentiment": "Read the mood"}


@dataclass(frozen=True)
class Gateway:
    """Where the gateway is, and the app there."""

    base_url: str  # without /v1
    public_app_id: str
    app_id: str
    app_secret: str
    developer_token: str
    model: str

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Gateway":
        """Read it from the environment, or from what `make demo` wrote. Exits with a sentence where neither has it."""
        path = Path(environ.get("DEMO_JSON") or HERE.parent.parent / "var" / "demo.json")
        demo: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        names = {"base_url", "public_app_id", "app_id", "app_secret", "developer_token", "model"}
        found = {name: environ.get(f"FAUCET_{name.upper()}") or demo.get(name, "") for name in names}
        if not found["base_url"] or not found["app_secret"]:
            sys.exit(
                f"There is no gateway: run `make demo` first (it writes {path}), or set FAUCET_BASE_URL and others."
            )
        return cls(**{**found, "base_url": found["base_url"].rstrip("/").removesuffix("/v1")})


def prepare(gateway: Gateway, origin: str) -> list[str]:
    """Make the features that are missing, allow the page's origin, give users an allowance; return what was done."""
    done = []
    path = f"/apps/{gateway.app_id}"
    headers = {"Authorization": f"Bearer {gateway.developer_token}"}
    with httpx.Client(base_url=f"{gateway.base_url}/v1", headers=headers, timeout=30) as api:
        have = {feature["key"] for feature in _ok(api.get(f"{path}/features"))["data"]}
        for key, name in FEATURES.items():
            if key not in have:
                body = {"key": key, "name": name, "template": f"{key}.en", "default_model": gateway.model}
                _ok(api.post(f"{path}/features", json=body))
                # The user's own machine may answer, too, where one is connected: then the prompt is made there.
                manifest = _ok(api.get(f"{path}/features/{key}/manifest"))["manifest"]
                manifest["routing"] = {**manifest.get("routing", {}), "policy": "local_first"}
                _ok(api.put(f"{path}/features/{key}/manifest", json=manifest))
                done.append(f"feature {key}")
        app = _ok(api.get(path))
        if origin not in app["allowed_origins"]:
            _ok(api.patch(path, json={"allowed_origins": [*app["allowed_origins"], origin]}))
            done.append(f"origin {origin}")
        if float(app["monthly_allowance_usd"]) == 0:
            _ok(api.patch(path, json={"monthly_allowance_usd": ALLOWANCE_USD}))
            done.append(f"${ALLOWANCE_USD} a month for every user, on the app")
    return done


def _ok(response: httpx.Response) -> Any:
    if response.is_error:
        sys.exit(f"{response.request.method} {response.url}: {response.status_code} {response.text}")
    return response.json()


class Pages(SimpleHTTPRequestHandler):
    """Static files, and two small answers for them."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, gateway: Gateway, **kwargs: Any) -> None:
        self.gateway = gateway
        super().__init__(*args, directory=str(HERE / "web"), **kwargs)

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/config.json":
                sdk = f"{self.gateway.base_url}/static/sdk/{SDK_VERSION}"
                public = {"baseUrl": self.gateway.base_url, "publicAppId": self.gateway.public_app_id, "sdk": sdk}
                self.answer(json.dumps({**public, "bridgeUrl": os.environ.get("FAUCET_BRIDGE_URL", BRIDGE)}))
            case "/user-token":
                # A real backend looks into its own session here, and signs only for whom that says.
                app = {"app_id": self.gateway.public_app_id, "app_secret": self.gateway.app_secret}
                self.answer(json.dumps({"token": sign_user_token(SIGNED_IN, **app)}))
            case _:
                super().do_GET()

    def answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        gateway, bridge = self.gateway.base_url, os.environ.get("FAUCET_BRIDGE_URL", BRIDGE)
        sources = f"script-src 'self' {gateway}; connect-src 'self' {gateway} {bridge}; img-src 'self' data:"
        self.send_header("Content-Security-Policy", f"default-src 'self'; {sources}")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what people do in a CRM is nobody's business."""


def main(argv: list[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description="Harbour CRM, an example of an app on a ModelFaucet gateway.")
    parser.add_argument("command", choices=("prepare", "serve"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("CRM_PORT", "5180")))
    options = parser.parse_args(argv)
    gateway = Gateway.read()
    origin = f"http://localhost:{options.port}"
    if options.command == "prepare":
        print("\n".join(prepare(gateway, origin)) or "Nothing to do: the features and the origin are there.")  # noqa: T201
        return
    with ThreadingHTTPServer(("127.0.0.1", options.port), partial(Pages, gateway=gateway)) as server:
        print(f"Harbour CRM: {origin}", flush=True)  # noqa: T201
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
