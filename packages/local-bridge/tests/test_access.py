"""Who may call: tokens, Host and Origin headers, preflights, pairing, the page's key and cookie."""

import re
from collections.abc import Callable

import httpx
import pytest
from support import Bench, ModelServer, until

from modelfaucet_bridge.access import CODE_SECONDS, UI_KEY_SECONDS, Origins, PageKeys, Pairings

APP, OTHER = "https://crm.example", "https://evil.example"


@pytest.fixture
def running(bench: Bench, serve: Callable[..., ModelServer]) -> Bench:
    bench.channel("own", serve("vllm", ("m",)))
    bench.channel("cloud", serve("openai_compatible", ("paid",)), "--secret-ref", "keychain:cloud")
    bench.run("keychain", "set", "cloud", secret="sk-the-users-own-key")
    bench.run("origins", "add", "https://mine.example")
    bench.start()
    bench.ready("m", "paid")
    return bench


def get(bench: Bench, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, bench.url + path, headers=named, trust_env=False)


def paired(bench: Bench, origin: str = APP) -> str:
    asked = httpx.post(f"{bench.url}/pair", json={"app_name": "CRM"}, headers={"origin": origin}).json()
    bench.run("allow", asked["code"])
    return str(get(bench, f"/pair/{asked['pairing_id']}", origin=origin).json()["token"])


def test_every_call_needs_the_token_also_on_this_machine(running: Bench) -> None:
    for path in ("/v1/models", "/v1/chat/completions", "/admin/page-key", "/admin/pairings"):
        for token in ("", "Bearer", "Bearer mf_local_wrong", "Basic bWY6bWY="):
            method = "GET" if path == "/v1/models" else "POST"
            answer = get(running, path, method=method, **({"authorization": token} if token else {}))
            assert answer.status_code == 401, (path, token)
            assert answer.json()["error"]["type"] == "authentication_error"


def test_what_anybody_may_know(running: Bench) -> None:
    said = get(running, "/status", origin=OTHER)
    assert said.headers["access-control-allow-origin"] == OTHER
    keys = {"name", "version", "ok", "requires_token", "reports", "gateway"}
    assert {*said.json()} == keys
    assert (said.json()["requires_token"], said.json()["ok"], said.json()["gateway"]) == (True, True, None)
    assert "base_url" in str(running.status())


def test_only_this_machines_own_names_are_answered(running: Bench) -> None:
    """A name of somebody else's that leads here (DNS rebinding) is none of them."""
    for host in ("evil.example", "evil.example:19088", "127.0.0.1.evil.example", "", "localhost.evil"):
        answer = get(running, "/status", host=host)
        assert answer.status_code in (400, 403), host
        assert "modelfaucet" not in answer.text
    for host in ("localhost", "localhost:19088", "[::1]:1", "127.0.0.1"):
        assert get(running, "/status", host=host).status_code == 200, host


def test_a_page_of_another_origin_gets_nothing_even_with_the_token(running: Bench) -> None:
    for path in ("/v1/models", "/ui", "/admin/page-key"):
        answer = get(running, path, origin=OTHER, **running.headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "origin_not_allowed"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = get(running, "/v1/models", method="OPTIONS", origin=OTHER, access_control_request_method="GET")
    assert preflight.status_code == 403
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_the_preflight_of_an_allowed_page(running: Bench) -> None:
    answer = get(
        running,
        "/v1/chat/completions",
        method="OPTIONS",
        origin="https://mine.example",
        access_control_request_method="POST",
        access_control_request_headers="authorization,x-stainless-os,x-strange",
        access_control_request_private_network="true",
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://mine.example"
    assert answer.headers["access-control-allow-private-network"] == "true"
    allowed = answer.headers["access-control-allow-headers"]
    assert "authorization" in allowed and "x-stainless-os" in allowed and "x-strange" not in allowed
    called = get(running, "/v1/models", origin="https://mine.example", **running.headers)
    assert called.headers["access-control-allow-origin"] == "https://mine.example"
    assert "x-faucet-channel" in called.headers["access-control-expose-headers"]
    assert "origin" in called.headers["vary"].lower()


def test_a_page_is_paired_with_the_code_that_it_shows(running: Bench) -> None:
    asked = httpx.post(f"{running.url}/pair", json={"app_name": "CRM"}, headers={"origin": APP})
    assert asked.status_code == 202
    assert asked.headers["access-control-allow-origin"] == APP
    pairing, code = asked.json()["pairing_id"], asked.json()["code"]
    assert re.fullmatch(r"\d{4}", code) and asked.json()["expires_in"] == CODE_SECONDS
    assert get(running, f"/pair/{pairing}", origin=APP).json() == {"state": "waiting"}
    assert get(running, f"/pair/{pairing}", origin=OTHER).status_code == 404
    wrong = f"{(int(code) + 1) % 10_000:04d}"
    assert "No page waits" in running.run("allow", wrong, ok=False)
    assert f"CRM at {APP}: allowed" in running.run("allow", code)
    token = get(running, f"/pair/{pairing}", origin=APP).json()["token"]
    assert token.startswith("mf_local_")
    assert get(running, f"/pair/{pairing}", origin=APP).status_code == 404  # once
    with_token = {"authorization": f"Bearer {token}"}
    assert get(running, "/v1/models", origin=APP, **with_token).status_code == 200
    assert get(running, "/v1/models", **with_token).status_code == 403  # not without its origin
    assert get(running, "/v1/models", origin="https://mine.example", **with_token).status_code == 403
    assert token not in (running.home / "origins.json").read_text()


def test_a_paired_page_uses_ones_own_models_and_no_key(running: Bench) -> None:
    token = paired(running)
    headers = {"authorization": f"Bearer {token}", "origin": APP}
    models = httpx.get(f"{running.url}/v1/models", headers=headers).json()["data"]
    assert [model["id"] for model in models] == ["m"]
    for model in ("paid", "cloud/paid"):
        body = {"model": model, "messages": []}
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    status = httpx.get(f"{running.url}/status", headers=headers)
    assert [each["name"] for each in status.json()["endpoints"]] == ["own"]
    assert "base_url" not in status.text and "spent" not in status.text
    assert httpx.post(f"{running.url}/admin/page-key", headers={"authorization": f"Bearer {token}"}).status_code == 403


def test_a_revoked_page_is_out_at_once(running: Bench) -> None:
    token = paired(running)
    assert APP in running.run("origins", "list")
    running.run("origins", "remove", APP)
    answer = get(running, "/v1/models", origin=APP, authorization=f"Bearer {token}")
    assert answer.status_code == 403
    assert "not allowed" in running.run("origins", "remove", APP, ok=False)


def test_a_page_is_denied(running: Bench) -> None:
    asked = httpx.post(f"{running.url}/pair", json={"app_name": "CRM"}, headers={"origin": APP}).json()
    running.run("allow", asked["code"], "--deny")
    assert get(running, f"/pair/{asked['pairing_id']}", origin=APP).json() == {"state": "denied"}


def test_what_is_no_request_to_be_paired(running: Bench) -> None:
    for body in ('{"app_name": ""}', '{"app_name": 3}', "{}", '{"app_name": "a\\nb"}', "no"):
        assert httpx.post(f"{running.url}/pair", content=body, headers={"origin": APP}).status_code == 400


def test_programs_and_opaque_origins_are_not_paired(running: Bench) -> None:
    assert httpx.post(f"{running.url}/pair", json={"app_name": "x"}).json()["error"]["code"] == "origin_required"
    assert httpx.post(f"{running.url}/pair", json={"app_name": "x"}, headers={"origin": "null"}).status_code == 403


def test_codes_end_and_pages_cannot_flood() -> None:
    clock = [0.0]
    pairings = Pairings(Origins.__new__(Origins), lambda: clock[0])
    for number in range(5):
        assert pairings.ask(f"https://{number}.example", "x") is not None
    assert pairings.ask("https://9.example", "x") is None
    assert pairings.ask("https://0.example", "again") is not None  # in place of its first
    code = pairings.waiting()[0].code
    clock[0] = CODE_SECONDS
    assert pairings.waiting() == [] and pairings.decide(code, True) is None


def test_the_key_of_the_page_works_once() -> None:
    clock = [0.0]
    keys = PageKeys(lambda: clock[0])
    key, late = keys.new_key(), keys.new_key()
    cookie = keys.cookie_for(key)
    assert cookie and keys.knows(cookie) and keys.cookie_for(key) is None
    clock[0] = UI_KEY_SECONDS
    assert keys.cookie_for(late) is None and keys.cookie_for("") is None
    assert keys.knows(cookie) and not keys.knows("x")


def test_the_page_is_locked_and_opens_with_its_key(running: Bench) -> None:
    with httpx.Client(base_url=running.url, trust_env=False) as browser:
        assert browser.get("/__akcp/ui").headers["location"] == "/ui"
        locked = browser.get("/ui")
        assert (locked.status_code, "vllm" in locked.text) == (401, False)
        opened = browser.get(running.page_url)
        assert opened.headers["location"] == "/ui"
        cookie = opened.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/ui"))
        page = browser.get("/ui", headers={"accept-language": "zh-CN,zh;q=0.9"})
        assert "本月" in page.text and "vllm" in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert not re.search(r"(?:src|href)=\"https?://", page.text)
        assert not re.search(r"style=|<style|<script>|\son\w+=", page.text)
        httpx.post(f"{running.url}/pair", json={"app_name": "<b>CRM</b>"}, headers={"origin": APP})
        page = browser.get("/ui")
        assert "&lt;b&gt;CRM&lt;/b&gt;" in page.text
        code = re.search(r'name="code" value="(\d{4})"', page.text)
        assert code is not None
        form = {"code": code[1], "decision": "allow"}
        assert browser.post("/ui/pairings", data=form).status_code == 403  # a form of no page
        assert browser.post("/ui/pairings", data=form, headers={"origin": OTHER}).status_code == 403
        assert browser.post("/ui/pairings", data=form, headers={"origin": running.url}).status_code == 303
        assert APP in browser.get("/ui").text
        assert browser.post("/ui/origins", data={"origin": APP}, headers={"origin": running.url}).status_code == 303
        assert APP not in browser.get("/ui").text
    assert httpx.get(running.page_url, trust_env=False).headers.get("set-cookie") is None  # its key is used


def test_the_page_opens_again_with_a_command(running: Bench) -> None:
    url = running.run("ui", "--print").strip()
    assert url.startswith(f"{running.url}/ui?key=")
    assert "set-cookie" in httpx.get(url, trust_env=False).headers


def test_a_renewed_token_shuts_the_old_one_out(running: Bench) -> None:
    old = running.headers
    assert running.run("token").strip() == running.token
    running.run("token", "--new")
    until(lambda: get(running, "/v1/models", **old).status_code == 401)
    assert running.ask("GET", "/v1/models").status_code == 200
