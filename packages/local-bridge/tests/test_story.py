"""The personal control plane as one story: init, keychain, start, a call, a budget crossed, the alert, the page."""

import json
import subprocess
import sys
from collections.abc import Callable

import httpx
import openai
from support import Bench, Inbox, ModelServer, until

from modelfaucet_bridge.webhooks import feishu_sign


def test_from_init_to_the_alert(bench: Bench, serve: Callable[..., ModelServer], inbox: Inbox) -> None:
    provider = serve(models=("gpt",), key="sk-real-key")
    # 1. The key goes into the keychain; the settings hold a reference.
    bench.run("keychain", "set", "codex", secret="sk-real-key")
    bench.run(
        *("channels", "add", "codex", "--base-url", provider.base_url, "--secret-ref", "keychain:codex"),
        *("--budget", "0.0235", "--hard-stop", "--rpm", "60", "--tpm", "100000"),
    )
    bench.run("channels", "price", "codex", "gpt", "--input", "2", "--output", "8")
    # 2. A Feishu bot, with its address and secret as references too.
    bench.run("keychain", "set", "bot", secret=f"{inbox.url}/open-apis/bot/v2/hook/x")
    bench.run("keychain", "set", "bot-secret", secret="s3cret")
    bench.run(
        *("alerts", "add", "team", "--kind", "feishu", "--url-ref", "keychain:bot"),
        *("--secret-ref", "keychain:bot-secret"),
    )
    assert "team: delivered" in bench.run("feishu:test")
    bench.run("security")
    # 3. A real process, as the command that the package installs.
    installed = subprocess.run(
        [sys.executable, "-m", "modelfaucet_bridge", "--version"], capture_output=True, text=True, check=True
    )
    assert installed.stdout.startswith("modelfaucet-bridge, version ")
    bench.start()
    bench.ready("gpt")
    # 4. The business changes base_url, and no key is in it. A call costs 1000 · $2 + 500 · $8 a million: $0.006.
    client = openai.OpenAI(base_url=f"{bench.url}/v1", api_key=bench.token, max_retries=0)
    said = [{"role": "user", "content": "hi"}]
    for _ in range(4):
        client.chat.completions.create(model="gpt", messages=said)  # type: ignore[arg-type]
    # 5. The alerts arrive: the fourth call ($0.024 of $0.0235) crosses all, each once, signed.
    until(lambda: len(inbox.got) == 4)
    messages = [json.loads(body) for _, _, body in inbox.got[1:]]
    titles = [message["card"]["header"]["title"]["content"] for message in messages]
    assert ["80 %" in titles[0], "95 %" in titles[1], "used up" in titles[2]] == [True, True, True]
    assert all(message["sign"] == feishu_sign("s3cret", int(message["timestamp"])) for message in messages)
    # 6. And the losses stop.
    try:
        client.chat.completions.create(model="gpt", messages=said)  # type: ignore[arg-type]
        raise AssertionError("the budget is used up")
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (402, "budget_exceeded")
    assert len(provider.calls) == 4
    # 7. The page shows it.
    with httpx.Client(base_url=bench.url, trust_env=False, follow_redirects=True) as browser:
        page = browser.get(bench.page_url).text
    assert "$0.0240 of $0.0235" in page and "1 / " not in page.split("Requests / min")[0]
    assert "budget_exceeded" in page and "sk-real-key" not in page
    assert [line["status"] for line in bench.ledger()] == [200, 200, 200, 200, 402]
    assert provider.calls[0][1]["authorization"] == "Bearer sk-real-key"
