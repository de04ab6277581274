"""An app with a page and a backend of its own, at another origin than the gateway, as a developer would write it.

Its content security policy is as strict as one can be: no inline script or style, and no markup from strings.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jwt

_CSP = (
    "default-src 'none'; script-src 'self' {gateway}; style-src 'self'; connect-src 'self' {gateway} {bridge}; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>Notes</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/app.css">
{head}</head>
<body><main><h1>Notes</h1>{body}</main></body></html>"""
_CSS = """
:root { color-scheme: light dark; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif;
  background: light-dark(#eef1f2, #04090b); color: light-dark(#111, #eee); }
main { display: grid; gap: 1rem; max-width: 44rem; margin: 0 auto; padding: 1rem; }
main > * { min-width: 0; }
h1 { margin: 0; font-size: 1rem; }
textarea#note { width: 100%; min-height: 6rem; box-sizing: border-box; font: inherit; }
"""


class Host(ThreadingHTTPServer):
    """The app's server, on localhost; its pages are made by `show`."""

    daemon_threads = True

    def __init__(self, gateway: str, public_app_id: str, secret: str, bridge: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gateway, self.public_app_id, self.secret, self.bridge = gateway, public_app_id, secret, bridge
        self.origin = f"http://localhost:{self.server_address[1]}"
        self.user = "alice"
        self.files: dict[str, tuple[str, bytes]] = {"/app.css": ("text/css", _CSS.encode())}

    def attributes(self, *, anonymous: bool = False) -> str:
        """Return what tells an element of which app it is."""
        token = "" if anonymous else ' user-token-url="/token"'
        app = f'base-url="{self.gateway}" public-app-id="{self.public_app_id}"'
        return f'{app} bridge-url="{self.bridge}"{token}'

    def show(self, body: str, *, language: str = "en", module: str = "") -> str:
        """Put a page up and return its address. `{app}` in the body are the attributes of the app.

        Its script is the gateway's bundle of the elements, or `module`.
        """
        module = module or f"{self.gateway}/static/sdk/0.1.0/components.js"
        head = f'<script type="module" src="{module}"></script>\n'
        page = _PAGE.format(language=language, head=head, body=body.replace("{app}", self.attributes()))
        self.files["/"] = ("text/html; charset=utf-8", page.encode())
        return f"{self.origin}/"

    def serve_file(self, path: str, file: Path, kind: str = "text/javascript") -> None:
        self.files[path] = (kind, file.read_bytes())

    def user_token(self) -> str:
        moment = int(time.time())
        claims = {"sub": self.user, "aud": self.public_app_id, "iat": moment, "exp": moment + 600}
        return jwt.encode(claims, self.secret, algorithm="HS256")


class _Handler(BaseHTTPRequestHandler):
    server: Host
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/token":
            self._answer(200, "application/json", json.dumps({"user_token": self.server.user_token()}).encode())
            return
        kind, content = self.server.files.get(path, ("text/plain", b""))
        self._answer(200 if path in self.server.files else 404, kind, content)

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        policy = _CSP.format(gateway=self.server.gateway, bridge=self.server.bridge)
        self.send_header("content-security-policy", policy)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def hosting(gateway: str, public_app_id: str, secret: str, bridge: str) -> Iterator[Host]:
    """Serve an app for as long as the block lasts."""
    host = Host(gateway, public_app_id, secret, bridge)
    thread = threading.Thread(target=host.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()
        thread.join(10)
