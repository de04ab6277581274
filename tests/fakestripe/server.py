"""The fake's HTTP: who calls, idempotency, and answers that do not arrive."""

import json
import secrets
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.fakestripe import checked, checkout, connect, hooks, payments, plans  # noqa: F401 (some only register)
from tests.fakestripe.faults import Fault, invalid
from tests.fakestripe.forms import decode
from tests.fakestripe.routes import routes
from tests.fakestripe.state import Object, State

KEYS_LIVE = 24 * 3600
# Refusals that Stripe makes before it begins, and so does not keep under the key.
NOT_BEGUN = ("parameter_missing", "parameter_unknown", "parameter_invalid_integer", "parameter_invalid_empty")
FAULTS = (
    "timeout",  # nothing is done, nothing is answered
    "timeout_after",  # it is done, nothing is answered
    "reset",  # nothing is done, the connection breaks
    "reset_after",  # it is done, the connection breaks
    "error",  # nothing is done, 500
    "error_after",  # it is done, 500; the same key gets the same 500 again, as Stripe does
    "rate_limit",  # nothing is done, 429
    "conflict",  # nothing is done, 409: another call with this key is under way
)


@dataclass(frozen=True)
class Call:
    """One call that reached the fake."""

    method: str
    path: str
    params: Object
    key: str | None
    account: str | None
    fault: str | None
    replayed: bool


@dataclass(frozen=True)
class _Answered:
    request: tuple[Any, ...]
    status: int
    body: Object
    at: int


class Server:
    """A loopback HTTP server over a `State`."""

    def __init__(self, state: State, key: str) -> None:
        self.state = state
        self.key = key
        self.calls: list[Call] = []
        self.faults: deque[tuple[str, str, str]] = deque()
        self.closing = threading.Event()
        self._answered: dict[tuple[str | None, str], _Answered] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60
            wbufsize = -1  # an answer in one packet: two would wait 40 ms for each other

            def log_message(self, *args: Any) -> None:
                return

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                status, body, headers, fault = outer.serve(
                    self.command, self.path, self.headers, self.rfile.read(length).decode()
                )
                if fault in ("timeout", "timeout_after"):
                    outer.hold(self.connection)
                    self.close_connection = True
                    return
                if fault in ("reset", "reset_after"):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                return  # a client that gave up, as a switch made it do

        self._http = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def hold(self, connection: socket.socket) -> None:
        """Say nothing until the client gives up."""
        connection.settimeout(0.05)
        while not self.closing.is_set():
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def serve(self, method: str, target: str, headers: Any, raw: str) -> tuple[int, Object, dict[str, str], str | None]:
        """Return status, body and headers of the answer, and the fault that keeps it from arriving."""
        split = urlsplit(target)
        params = decode(split.query) | decode(raw)
        account, key = headers.get("stripe-account"), headers.get("idempotency-key")
        if account == connect.PLATFORM:  # our own account may be named, too
            account = None
        answer_headers = {"request-id": f"req_{secrets.token_hex(7)}"}
        with self.state.lock:
            fault = self._fault_for(method, split.path)
            try:
                if fault in ("timeout", "reset"):
                    status, body, replayed = 0, {}, False
                elif fault == "error":
                    raise Fault(500, "An unknown error occurred.", type="api_error")
                elif fault == "rate_limit":
                    raise Fault(429, "Request rate limit exceeded.", code="rate_limit")
                elif fault == "conflict":
                    message = "There is currently another in-progress request using this Idempotent Key."
                    raise Fault(409, message, type="idempotency_error")
                else:
                    self._check(headers)
                    status, body, replayed = self._keyed(method, split.path, params, account, key, fault)
            except Fault as error:
                status, body, replayed = error.status, {"error": error.error}, False
            self.calls.append(Call(method, split.path, params, key, account, fault, replayed))
        if replayed:
            answer_headers["idempotent-replayed"] = "true"
        if key:
            answer_headers["idempotency-key"] = key
        return status, body, answer_headers, fault

    def _fault_for(self, method: str, path: str) -> str | None:
        for planned in self.faults:
            fault, wanted, prefix = planned
            if wanted in ("", method) and path.startswith(prefix):
                self.faults.remove(planned)
                return fault
        return None

    def _check(self, headers: Any) -> None:
        given = (headers.get("authorization") or "").removeprefix("Bearer ")
        if given != self.key:
            raise Fault(401, f"Invalid API Key provided: {given[:8]}****", type="invalid_request_error")
        version = headers.get("stripe-version")
        if version != self.state.api_version:
            raise invalid(f"Invalid Stripe API version: {version}; the fake speaks {self.state.api_version}.")

    def _keyed(
        self, method: str, path: str, params: Object, account: str | None, key: str | None, fault: str | None
    ) -> tuple[int, Object, bool]:
        """Do what is asked, or answer as before where the key was seen within a day."""
        request = (method, path, json.dumps(params, sort_keys=True))
        now = self.state.clock.now()
        known = self._answered.get((account, key)) if key and method == "POST" else None
        if known is not None and known.at > now - KEYS_LIVE:
            if known.request != request:
                raise Fault(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                    f"Try using a key other than '{key}' if you meant to execute a different request.",
                    type="idempotency_error",
                )
            return known.status, known.body, True
        try:
            status, body = 200, self._do(method, path, params, account)
        except Fault as error:
            if error.error.get("code") in NOT_BEGUN:
                raise
            status, body = error.status, {"error": error.error}
        if fault == "error_after":
            status, body = 500, {"error": {"type": "api_error", "message": "An unknown error occurred."}}
        if key and method == "POST":
            self._answered[account, key] = _Answered(request, status, body, now)
        return status, body, False

    def _do(self, method: str, path: str, params: Object, account: str | None) -> Object:
        found = routes.find(method, path)
        if found is None:
            raise Fault(404, f"Unrecognized request URL ({method}: {path}): the fake does not know it.")
        answer, ids, template = found
        params = checked.typed(params, method, template)
        expand = params.pop("expand", [])
        state = self.state
        if account is not None:
            connect.account(state, {}, account)
        state.account = account
        try:
            body = answer(state, params, *ids)
            if body.get("object") == "list":
                # A member is expanded in each row: expand[]=data.source.
                rows = [state.answer(row, [p[5:] for p in expand if p.startswith("data.")]) for row in body["data"]]
                return {**body, "data": rows}
            return state.answer(body, expand)
        finally:
            state.account = None
