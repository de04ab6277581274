"""What the window asks of the gateway, in a thread of its own: the window never waits for the network.

Settings: FAUCET_BASE_URL, FAUCET_PUBLIC_APP_ID, USER_TOKEN_URL (the app's backend), BRIDGE_URL and BRIDGE_TOKEN.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import httpx
from modelfaucet_sdk import AsyncBridge, AsyncFaucet, FaucetError, Mode
from PySide6.QtCore import QObject, Signal

# What a failure may be: the gateway's, the backend's (httpx), or a setting that is missing.
FAILURES = (FaucetError, httpx.HTTPError, ValueError)
PLACES = {"byok": ", by your own key", "local": ", by this computer"}


class Asking(QObject):
    """Runs one call after the other; each of its signals arrives in the window's thread."""

    piece = Signal(str)
    done = Signal(str)
    failed = Signal(str)
    balance = Signal(str)
    fee = Signal(str, str)

    def __init__(self, connect: Callable[[], AsyncFaucet]) -> None:
        super().__init__()
        self._connect = connect
        self._faucet: AsyncFaucet | None = None
        self._running: Future[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asking", daemon=True)
        self._thread.start()

    def ask(self, prompt: str, mode: Mode) -> None:
        """Stream the answer to a prompt: pieces, and then what it cost."""
        self._running = self._start(self._ask(prompt, mode))

    def tell_fee(self) -> None:
        """Tell what the app charges for calls with a key of the user's own."""
        self._start(self._tell_fee())

    def add_key(self, provider: str, secret: str, fee_usd: str) -> None:
        """Give the gateway a key of the user's own, and agree to the fee that was shown: to no other."""
        self._running = self._start(self._add_key(provider, secret, fee_usd))

    def refresh(self) -> None:
        """Tell the balance."""
        self._start(self._refresh())

    def stop(self) -> None:
        """End what runs, also where nothing comes: the connection is closed, and with it the model's work."""
        if self._running is not None:
            self._running.cancel()

    def close(self) -> None:
        """End everything."""
        self.stop()
        if self._faucet is not None:
            asyncio.run_coroutine_threadsafe(self._faucet.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._guard(work), self._loop)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Tell how work ended, whatever way."""
        try:
            await work
        except asyncio.CancelledError:
            self.done.emit("Stopped.")
        except FAILURES as error:
            self.failed.emit(told(error))
        except Exception:
            self.failed.emit("Something went wrong in this app.")
            raise

    async def _ask(self, prompt: str, mode: Mode) -> None:
        try:
            async with self._client().stream(prompt, mode=mode) as stream:
                async for text in stream.texts():
                    self.piece.emit(text)
            result = stream.result
            self.done.emit(f"{result.price_usd or 0} USD{PLACES.get(result.route_mode, '')}")
        finally:
            self._start(self._refresh())

    async def _tell_fee(self) -> None:
        told = await self._client().fees.list()
        fee = next(fee for fee in told["fees"] if fee["mode"] == "byok")
        self.fee.emit(fee["fee_usd"], fee["text"])

    async def _add_key(self, provider: str, secret: str, fee_usd: str) -> None:
        key = await self._client().keys.add(provider, secret, acknowledge_fee_usd=fee_usd)
        self.done.emit(f"The gateway keeps your key …{key['hint']}.")

    async def _refresh(self) -> None:
        wallet = await self._client().wallet.get(limit=1)
        self.balance.emit(f"{float(wallet['available_usd']):.4f} USD")

    def _client(self) -> AsyncFaucet:
        self._faucet = self._faucet or self._connect()
        return self._faucet


def told(error: Exception) -> str:
    """Return what to tell a person about an error."""
    if isinstance(error, FaucetError):
        return {"insufficient_funds": "Your credit is used up."}.get(error.code or "", error.message)
    return f"The app's backend does not answer ({error})." if isinstance(error, httpx.HTTPError) else str(error)


def connect() -> AsyncFaucet:
    """Return the client: its user token comes from the app's backend, whenever a session has to be opened."""
    address = os.environ.get("USER_TOKEN_URL", "http://127.0.0.1:5181/user-token")

    async def user_token() -> str:
        async with httpx.AsyncClient(timeout=10) as client:
            return (await client.get(address)).raise_for_status().text

    return AsyncFaucet(
        os.environ.get("FAUCET_BASE_URL", "http://127.0.0.1:8000"),
        os.environ.get("FAUCET_PUBLIC_APP_ID", "app_pub_demo"),
        user_token=user_token,
        bridge=AsyncBridge(os.environ.get("BRIDGE_TOKEN"), os.environ.get("BRIDGE_URL", "http://127.0.0.1:19088")),
    )
