"""The page's own calls over real sockets: session, stream, the price at its end, and where the money went."""

import json

import httpx

from apps.core.money import nano_from_usd
from tests.console.factories import make_demo
from tests.live import Server, rate_all, wait_until
from tests.provider_double import ProviderDouble


def test_streamed_answer_moves_balance_and_revenue(server: Server, double: ProviderDouble) -> None:
    make_demo(server.base_url, double.base_url)
    with httpx.Client(base_url=server.base_url, headers={"origin": server.base_url}, timeout=30) as browser:
        visitor = browser.post("/demo/session", json={}).json()
        proof = {"public_app_id": visitor["public_app_id"], "user_token": visitor["user_token"]}
        token = browser.post("/v1/sessions", json=proof).json()["session_token"]
        body = {
            "messages": [{"role": "user", "content": "Say hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer = browser.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        [note] = [line for line in answer.text.split("\n") if line.startswith(": modelfaucet ")]
        told = json.loads(note.removeprefix(": modelfaucet "))
        assert told["request_id"] == answer.headers["x-request-id"]

        state = browser.get("/demo/state").json()
        [call] = state["visitor"]["latest"]
        assert (call["request_id"], call["price_usd"]) == (told["request_id"], told["price_usd"])
        assert nano_from_usd(told["price_usd"]) > 0

        def paid() -> int:
            now = browser.get("/demo/state").json()["visitor"]["available_usd"]
            return nano_from_usd(visitor["granted_usd"]) - nano_from_usd(now)

        wait_until(lambda: paid() == nano_from_usd(told["price_usd"]))  # the hold shrinks just after the answer

        rate_all()
        wait_until(lambda: browser.get("/demo/state").json()["settled"])
        assert browser.get("/demo/state").json()["revenue_usd"] == call["split"]["developer_usd"]
