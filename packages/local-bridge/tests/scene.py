"""A bridge with a month behind it, for those who look at its page.

    python scene.py DIRECTORY

lives through the story of a personal control plane: init, keychain, start, calls by the `openai` client until the
budget is crossed and the alert received. Prints one line of JSON with the page's address, then runs the commands that
it reads, and serves until there are no more.
"""

import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import httpx
import openai
from support import Bench, Inbox, ModelServer, until

from modelfaucet_bridge.ledger import Entry, Ledger

DAY = 86_400


def earlier_days(home: Path) -> None:
    """Write what was spent since the month began, a twentieth of the budget at most."""
    now = time.time()
    ledger = Ledger(home / "ledger", max_bytes=8_000_000, keep_months=13, now=now)
    day = datetime.fromtimestamp(now, timezone.utc).day
    for back in range(min(day - 1, 20), 0, -1):
        at, cost = now - back * DAY, 20_000_000 + back * 7 % 5 * 9_000_000
        ledger.record(Entry(at, f"req_{back:024x}", "openai", "gpt-5", "chat", 200, 800, 9000, 700, cost_nano_usd=cost))
    ledger.close()


def main() -> None:
    bench = Bench(Path(sys.argv[1]) / "home")
    bench.init(discover=True)
    ollama, provider, inbox = (
        ModelServer("ollama", ("llama3.2", "qwen3", "nomic-embed")),
        ModelServer(models=("gpt-5",)),
        Inbox(),
    )
    other = ModelServer(models=("deepseek-chat",))
    provider.key = "sk-real-key"
    off = "".join(f"{kind} = false\n" for kind in ("lm_studio", "vllm", "llama_cpp"))
    bench.settings(lambda text: text + f'\n[discovery.endpoints]\nollama = "{ollama.base_url}"\n{off}')
    bench.run("keychain", "set", "openai", secret="sk-real-key")
    bench.run(
        *("channels", "add", "openai", "--base-url", provider.base_url, "--secret-ref", "keychain:openai"),
        *("--budget", "2", "--hard-stop", "--rpm", "60", "--tpm", "100000"),
    )
    bench.run("channels", "price", "openai", "gpt-5", "--input", "200", "--output", "800")
    bench.run("channels", "add", "deepseek", "--base-url", other.base_url, "--budget", "10")
    bench.run("channels", "add", "workstation", "--kind", "vllm", "--base-url", "http://127.0.0.1:9/v1")
    bench.run("alerts", "add", "team", "--url", f"{inbox.url}/hook")
    earlier_days(bench.home)
    bench.start()
    bench.ready("gpt-5", "llama3.2", "deepseek-chat")
    client = openai.OpenAI(base_url=f"{bench.url}/v1", api_key=bench.token, max_retries=0)
    said = [{"role": "user", "content": "hi"}]
    for model in ("llama3.2", "qwen3", "deepseek-chat", "gpt-5"):
        client.chat.completions.create(model=model, messages=said)  # type: ignore[arg-type]
    refused = None
    while refused is None:
        try:
            client.chat.completions.create(model="gpt-5", messages=said)  # type: ignore[arg-type]
        except openai.APIStatusError as error:
            refused = error.code
    until(lambda: len(inbox.got) >= 3)
    until(lambda: bench.endpoint("workstation")["health"]["state"] == "down")
    asked = {"app_name": "Northwind CRM"}
    code = httpx.post(f"{bench.url}/pair", json=asked, headers={"origin": "https://crm.example"}).json()["code"]
    alerts = [json.loads(body)["data"]["threshold_percent"] for _, _, body in inbox.got]
    found = {"page": bench.page_url, "url": bench.url, "code": code, "refused": refused, "alerts": alerts}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    try:
        for line in sys.stdin:
            sys.stdout.write(bench.run(*line.split(), ok=True).strip() + "\n")
            sys.stdout.flush()
    finally:
        bench.stop()


if __name__ == "__main__":
    main()
