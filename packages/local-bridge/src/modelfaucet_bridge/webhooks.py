"""Sending an alert: to a Feishu or Lark bot in its own signed form, or to any address as a Standard Webhook."""

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx

SECONDS = 10.0


class DeliveryError(Exception):
    """The alert did not arrive; the message says why and holds no address, as that of a bot is a secret."""


def feishu_sign(secret: str, timestamp: int) -> str:
    """Return the signature that a Feishu or Lark bot checks.

    As their guide for custom bots says: the key is the timestamp (seconds), a line feed and the secret; the message is
    empty; HMAC-SHA256, base64.
    """
    key = f"{timestamp}\n{secret}".encode()
    return base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()


def feishu_card(title: str, lines: list[str], *, secret: str, timestamp: int, colour: str) -> dict[str, Any]:
    """Return the message of a bot: a card, signed if the bot has a secret."""
    message: dict[str, Any] = {
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": True},
            "header": {"template": colour, "title": {"tag": "plain_text", "content": title}},
            "elements": [{"tag": "div", "text": {"tag": "plain_text", "content": "\n".join(lines)}}],
        },
    }
    if secret:
        message = {"timestamp": str(timestamp), "sign": feishu_sign(secret, timestamp), **message}
    return message


def standard_signature(secret: str, delivery: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` as standardwebhooks.com has it: v1, HMAC-SHA256, base64."""
    encoded = secret.startswith("whsec_")
    key = base64.b64decode(secret.removeprefix("whsec_")) if encoded else secret.encode()
    signed = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def send_feishu(client: httpx.AsyncClient, url: str, message: dict[str, Any]) -> None:
    """Send a bot its message. Raises DeliveryError, also where the bot answers 200 and says that it failed."""
    answer = await _post(client, url, json.dumps(message, ensure_ascii=False).encode(), {})
    try:
        content = answer.json()
        code = content.get("code", content.get("StatusCode"))
    except (ValueError, AttributeError):
        raise DeliveryError("the bot's answer is not one of Feishu or Lark") from None
    if code != 0:
        hints = {19021: "the signature is wrong or the clock is more than an hour off", 19024: "a keyword is missing"}
        raise DeliveryError(f"the bot answered code {code}" + (f": {hints[code]}" if code in hints else ""))


async def send_webhook(
    client: httpx.AsyncClient, url: str, event: dict[str, Any], *, delivery: str, secret: str, timestamp: int
) -> None:
    """Send an event with an id that is the same at every attempt. Raises DeliveryError unless the answer is 2xx."""
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"webhook-id": delivery, "webhook-timestamp": str(timestamp)}
    if secret:
        headers["webhook-signature"] = standard_signature(secret, delivery, timestamp, body)
    await _post(client, url, body, headers)


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    try:
        answer = await client.post(
            url, content=body, headers={"content-type": "application/json", **headers}, timeout=SECONDS
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"no answer ({type(error).__name__})") from None
    if not answer.is_success:
        raise DeliveryError(f"the answer was {answer.status_code}")
    return answer
