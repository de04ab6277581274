"""The notes app's backend, all of it: it knows who is signed in and signs that. Only it has the app's secret.

python backend.py        http://127.0.0.1:5181/user-token

Settings: FAUCET_PUBLIC_APP_ID and FAUCET_APP_SECRET, else the demo's var/demo.json (DEMO_JSON names another file).
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from modelfaucet_sdk import sign_user_token

# Whom a real backend's login would name; the demo's funded end user.
SIGNED_IN = os.environ.get("SIGNED_IN", "demo-visitor")
PORT = int(os.environ.get("PORT", "5181"))


def read_app() -> tuple[str, str]:
    """Return the app's public id and its secret."""
    path = Path(os.environ.get("DEMO_JSON") or Path(__file__).resolve().parents[2] / "var" / "demo.json")
    demo = json.loads(path.read_text()) if path.exists() else {}
    app_id = os.environ.get("FAUCET_PUBLIC_APP_ID") or demo.get("public_app_id", "")
    secret = os.environ.get("FAUCET_APP_SECRET") or demo.get("app_secret", "")
    if not app_id or not secret:
        sys.exit(f"There is no app: run `make demo` first (it writes {path}), or set FAUCET_APP_SECRET and others.")
    return app_id, secret


class Handler(BaseHTTPRequestHandler):
    """One address."""

    def do_GET(self) -> None:
        if self.path != "/user-token":
            self.send_error(404)
            return
        app_id, secret = read_app()
        body = sign_user_token(SIGNED_IN, app_id=app_id, app_secret=secret).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    read_app()
    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/user-token", flush=True)  # noqa: T201
        server.serve_forever()
