"""The elements of the SDK in an app's page, at another origin than the gateway, before the whole running gateway."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import app_by_id
from apps.features.services.apps import set_app_terms, update_app
from apps.features.services.terms import TermsInput
from apps.vault.services.app_secrets import issue_app_secret
from tests.billing.conftest import Deliver, deliver, fakestripe
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, Browser
from tests.browser.host import Host, hosting
from tests.browser.walk import SERVED_BY_ASGI
from tests.fakestripe import FakeStripe
from tests.live import ACTOR, MODEL, Server, World, notice
from tests.provider_double import Behaviour, ProviderDouble

__all__ = ["deliver", "fakestripe"]
pytestmark = SERVED_BY_ASGI
# 1,000 tokens in and 200 out cost 0.006 USD at the provider, and 0.0084 with the markup of 40 %.
CALL = Behaviour(prompt_tokens=1_000, completion_tokens=200)
NOWHERE = "http://127.0.0.1:9"  # where no bridge answers
expect.set_options(timeout=15_000)
ANSWER = """Here is a **short plan**:

1. Read the *notes*
2. Write `three` sentences

```python
print("hello")
```

<img src=x onerror="document.title='broken'"> [site](https://example.com) [bad](javascript:document.title='broken')"""


@pytest.fixture
def host(site: Browser, server: Server, world: World, double: ProviderDouble, fakestripe: FakeStripe) -> Iterator[Host]:
    """Give an app that takes users' own keys for a fee of 0.0005 USD a call; its user alice has 10 USD."""
    addresses.forget()
    double.default = CALL
    terms = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0005"))
    set_app_terms(app_id=world.app_id, terms=terms, now=now(), actor=ACTOR)
    app = app_by_id(world.app_id)
    assert app is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    with hosting(world.base_url, app.public_id, secret, NOWHERE) as running:
        update_app(app_id=world.app_id, allowed_origins=[running.origin], now=now(), actor=ACTOR)
        notice(server)
        yield running
    # A browser logs what a page is refused, and a bridge that is not there; what a page itself throws stays a problem.
    site.problems[:] = [each for each in site.problems if "Failed to load resource" not in each]


WAYS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"width": PHONE},
    "narrow-zh-dark": {"width": 320, "dark": True},
}
ALL = """<faucet-chat {app} heading="Notes assistant" suggestions="Summarise my notes|Plan my day"></faucet-chat>
<faucet-command {app} text="A text" commands='[{"label":"Shorten","feature":"shorten"}]'></faucet-command>
<faucet-mode {app}></faucet-mode><faucet-credits {app}></faucet-credits><faucet-usage {app}></faucet-usage>
<faucet-byok {app}></faucet-byok><faucet-local {app}></faucet-local>"""


def ask(page: Page, text: str, name: str = "Message") -> None:
    page.get_by_role("textbox", name=name).fill(text)
    page.keyboard.press("Enter")


def settled(page: Page) -> None:
    """Return once no element of the page is still fetching what it shows."""
    page.wait_for_function(
        """() => [...document.querySelectorAll('*')].filter(each => each.localName.startsWith('faucet-'))
          .every(each => each.shadowRoot?.childElementCount && !each.shadowRoot.querySelector('.skeleton'))"""
    )


@pytest.mark.parametrize("way", WAYS)
def test_every_element_looks_right_in_an_app(
    site: Browser, host: Host, world: World, double: ProviderDouble, way: str
) -> None:
    double.default = Behaviour(text=ANSWER, prompt_tokens=1_000, completion_tokens=200)
    world.manifest("default", routing={"policy": "byok_first"})
    chinese = "zh" in way
    page = site.page(**WAYS[way])
    page.goto(host.show(ALL, language="zh-CN" if chinese else "en"))
    settled(page)
    expect(page.locator("faucet-mode")).to_contain_text("应用额度" if chinese else "App credit")
    site.screenshot(page, f"components-{way}-empty")
    ask(page, "Plan my day", "消息" if chinese else "Message")
    expect(page.locator("faucet-chat")).to_contain_text("$0.0084")
    expect(page.locator("faucet-usage tbody tr")).to_have_count(1)
    page.locator("faucet-usage [part=price]").click()
    page.get_by_role("button", name="添加密钥" if chinese else "Add a key").click()
    page.get_by_role("button", name="检查连接" if chinese else "Check the connection").click()
    expect(page.locator("faucet-local [part=diagnostics]")).to_be_visible()
    page.wait_for_timeout(700)
    site.screenshot(page, f"components-{way}-used")
    assert violations(page) == []
    assert page.title() == "Notes"  # nothing of the answer was run


def test_chat_streams_stops_and_says_what_an_answer_cost(site: Browser, host: Host, double: ProviderDouble) -> None:
    page = site.page()
    page.goto(host.show("<faucet-chat {app}></faucet-chat>"))
    chat = page.locator("faucet-chat")
    double.script(Behaviour(chunks=400, interval=0.02, prompt_tokens=10, completion_tokens=5))
    ask(page, "Tell me a long story")
    expect(chat).to_contain_text("word3 ")
    expect(chat.locator("[part=messages]")).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Stop").click()
    expect(chat).to_contain_text("Stopped")
    assert double.requests[0].chunks_written < 400
    double.script(Behaviour(text=ANSWER, prompt_tokens=1_000, completion_tokens=200))
    ask(page, "Plan my day")
    price = chat.locator("[part=price]").last
    expect(price).to_have_text("$0.0084")
    assert chat.locator("strong").inner_text() == "short plan"
    assert chat.locator("img, script, [onerror]").count() == 0
    assert [each.get_attribute("href") for each in chat.locator("a").all()] == ["https://example.com"]
    price.click()
    expect(chat.locator("[part=receipt]")).to_contain_text("1,000 in, 200 out")
    expect(chat.locator("[part=receipt]")).to_contain_text("req_")
    messages = chat.evaluate("each => each.messages.map(message => message.role)")
    assert messages == ["user", "assistant", "user", "assistant"]
    assert [each["role"] for each in double.requests[1].body["messages"]] == ["user", "assistant", "user"]


def test_chat_goes_on_after_the_provider_failed(site: Browser, host: Host, double: ProviderDouble) -> None:
    page = site.page()
    page.goto(host.show("<faucet-chat {app}></faucet-chat>"))
    double.script("close-within")
    ask(page, "Say hello")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was charged")
    expect(page.get_by_role("alert")).to_contain_text("req_")
    site.screenshot(page, "components-chat-failed")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("faucet-chat")).to_contain_text("All is well.")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_chat_without_credit_offers_to_buy_some(
    site: Browser, host: Host, world: World, fakestripe: FakeStripe, deliver: Deliver
) -> None:
    host.user = "poor"
    page = site.page(width=PHONE)
    page.goto(host.show("<faucet-chat {app}></faucet-chat>"))
    ask(page, "Say hello")
    expect(page.get_by_role("alert")).to_contain_text("Not enough credit")
    assert page.locator("input[type=password]").count() == 0  # nobody is asked for a key
    page.get_by_role("button", name="Add credit").click()
    credits = page.locator("faucet-credits")
    expect(credits).to_contain_text("Your credit is used up.")
    page.context.route("https://checkout.stripe.com/**", lambda route: route.fulfill(body="Pay"))
    credits.get_by_role("radio", name="$20").check()
    site.screenshot(page, "components-chat-no-credit")
    assert violations(page) == []
    with page.context.expect_page() as opened:
        credits.get_by_role("button", name="Continue to payment").click()
    checkout = opened.value
    checkout.wait_for_url("https://checkout.stripe.com/**")
    assert checkout.evaluate("window.opener") is None
    fakestripe.pay(checkout.url.rsplit("/", 1)[1])
    assert deliver() > 0
    checkout.close()
    expect(credits).to_contain_text("$20.00 was added. Thank you.")
    expect(credits.locator("[part=balance]")).to_have_text("$20.00")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("faucet-chat")).to_contain_text("All is well.")


def test_own_key_is_added_and_serves_calls(site: Browser, host: Host, world: World, double: ProviderDouble) -> None:
    double.by_key["sk-mistyped-0002"] = Behaviour(status=401)
    world.manifest(routing={"policy": "byok_first"})
    page = site.page()
    bodies: list[str] = []
    page.on("request", lambda request: bodies.append(request.post_data or ""))
    page.goto(
        host.show("<faucet-byok {app}></faucet-byok><faucet-mode {app}></faucet-mode><faucet-chat {app}></faucet-chat>")
    )
    byok, mode = page.locator("faucet-byok"), page.locator("faucet-mode")
    expect(byok).to_contain_text("You have no keys here.")
    expect(mode.get_by_role("radio")).to_have_count(1)
    byok.get_by_role("button", name="Add a key").click()
    secret = byok.get_by_label("API key")
    assert secret.get_attribute("type") == "password"
    byok.get_by_label("Provider").select_option("double-0")
    secret.fill("sk-mistyped-0002")
    byok.get_by_role("button", name="Check and add").click()
    expect(byok).to_contain_text("Please accept the fee first.")
    byok.get_by_role("checkbox").check()
    byok.get_by_role("button", name="Check and add").click()
    expect(byok.get_by_role("alert")).to_contain_text("The provider refused this key")
    expect(secret).to_have_value("")
    secret.fill("sk-of-alice-0001")
    byok.get_by_label("Monthly budget").fill("5")
    site.screenshot(page, "components-byok-form")
    if byok.get_by_role("checkbox").count():  # the fee may have been taken note of the first time
        byok.get_by_role("checkbox").check()
    byok.get_by_role("button", name="Check and add").click()
    expect(byok).to_contain_text("It ends in 0001.")
    assert sum("sk-of-alice-0001" in body for body in bodies) == 1
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.documentElement.outerHTML])")
    assert "alice-0001" not in stored
    expect(byok.locator("[part=key]")).to_contain_text("$0.00 of $5.00 this month")
    expect(mode.get_by_role("radio")).to_have_count(3)
    assert mode.evaluate("each => each.available") == ["auto", "platform", "byok"]
    mode.get_by_role("radio", name="Your own key").check()
    assert mode.evaluate("each => each.faucet.mode") == "byok"  # at once: its fee was accepted with the key
    ask(page, "Say hello")
    expect(page.locator("faucet-chat [part=price]")).to_have_text("$0.0005")
    expect(page.locator("faucet-chat .below [part=mode]")).to_have_text("Your own key")
    assert double.keys_used()[-1] == "sk-of-alice-0001"
    byok.get_by_role("button", name="Edit").click()
    byok.get_by_label("Name").fill("Mine")
    byok.get_by_label("Order").fill("7")
    byok.get_by_role("button", name="Save").click()
    expect(byok.locator("[part=key]")).to_contain_text("Order 7")
    site.screenshot(page, "components-byok")
    assert violations(page) == []
    byok.get_by_role("button", name="Remove").click()
    byok.get_by_role("button", name="Remove").click()
    expect(byok).to_contain_text("You have no keys here.")
    expect(mode.get_by_role("radio")).to_have_count(1)


def test_mode_asks_for_a_fee_before_it_switches(site: Browser, host: Host, world: World) -> None:
    terms = TermsInput(markup_bps=4_000, share_bps=4_000, local_fee=nano_from_usd("0.0002"))
    set_app_terms(app_id=world.app_id, terms=terms, now=now(), actor=ACTOR)
    mine = {"name": "Mine", "kind": "ollama", "base_url": "http://127.0.0.1:11434/v1", "models": [{"id": "llama"}]}
    answer = httpx.post(f"{world.base_url}/v1/local/endpoints", json=mine, headers=world.headers())
    assert answer.status_code == 201, answer.text
    page = site.page(language="zh-CN", width=PHONE)
    page.goto(host.show("<faucet-mode {app}></faucet-mode>", language="zh-CN"))
    mode = page.locator("faucet-mode")
    local = mode.get_by_role("radio", name="本机模型")
    local.check()
    expect(mode.locator("[part=consent]")).to_contain_text("收取 0.0002 美元的网关费")
    site.screenshot(page, "components-mode-consent-zh")
    assert violations(page) == []
    assert mode.evaluate("each => each.faucet.mode") == "auto"
    mode.get_by_role("button", name="取消").click()
    expect(mode.get_by_role("radio", name="自动")).to_be_checked()
    local.check()
    mode.get_by_role("button", name="接受并切换").click()
    expect(mode.locator("[part=consent]")).to_have_count(0)
    expect(local).to_be_checked()
    assert mode.evaluate("each => each.faucet.mode") == "local"
    told = httpx.get(f"{world.base_url}/v1/user/fees", headers=world.headers()).json()["fees"]
    assert {fee["mode"]: fee["acknowledged"] for fee in told} == {"byok": False, "local": True}


def test_command_runs_a_feature_on_the_selection_by_keyboard(
    site: Browser, host: Host, world: World, double: ProviderDouble
) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    world.manifest("shorten", models={"default": MODEL}, input=schema, prompt={"user": "Shorten: {{ input.text }}"})
    double.default = Behaviour(text="A fox jumps.", prompt_tokens=1_000, completion_tokens=200)
    page = site.page()
    page.goto(
        host.show(
            '<label for="note">Note</label><textarea id="note">Intro. The quick brown fox jumps over it.</textarea>'
            """<faucet-command {app} label="Write with AI" commands='[{"label": "Shorten", "description": "Fewer words",
        "feature": "shorten"}, {"label": "Make friendly", "instruction": "Make it friendly"}]'></faucet-command>"""
        )
    )
    page.wait_for_function("customElements.get('faucet-command') !== undefined")
    note = page.get_by_label("Note", exact=True)
    note.focus()
    note.evaluate("each => each.setSelectionRange(7, each.value.length)")
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog")
    expect(palette).to_contain_text("The quick brown fox jumps over it.")
    expect(palette.get_by_role("option")).to_have_count(2)
    page.wait_for_timeout(200)
    site.screenshot(page, "components-command")
    assert violations(page) == []
    page.keyboard.type("short")
    expect(palette.get_by_role("option").first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(palette).to_contain_text("A fox jumps.")
    expect(palette).to_contain_text("$0.0084")
    site.screenshot(page, "components-command-result")
    assert violations(page) == []
    palette.get_by_role("button", name="Replace selection").press("Enter")
    expect(note).to_have_value("Intro. A fox jumps.")
    expect(palette).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "note"
    sent = double.requests[0].body["messages"][-1]["content"]
    assert sent == "Shorten: The quick brown fox jumps over it."
    page.keyboard.press("Control+k")
    page.keyboard.type("Make it rhyme")
    page.keyboard.press("Enter")
    expect(palette).to_contain_text("A fox jumps.")
    assert "Make it rhyme" in double.requests[1].body["messages"][0]["content"]
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()


def test_chat_is_steered_by_keyboard_alone(site: Browser, host: Host, double: ProviderDouble) -> None:
    page = site.page()
    page.goto(host.show('<faucet-chat {app} suggestions="Say hello"></faucet-chat>'))
    expect(page.get_by_role("button", name="Say hello")).to_be_visible()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.shadowRoot?.activeElement?.getAttribute('part')"))
    assert reached[:3] == ["messages", "suggestion", "input"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter") if reached[3] is None else page.get_by_role("button", name="Say hello").press("Enter")
    expect(page.locator("faucet-chat")).to_contain_text("All is well.")
    page.get_by_role("textbox", name="Message").focus()
    double.script(Behaviour(chunks=400, interval=0.02))
    page.keyboard.type("A long one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("in two lines")
    page.keyboard.press("Enter")
    expect(page.locator("faucet-chat")).to_contain_text("word3 ")
    page.keyboard.press("Escape")
    expect(page.locator("faucet-chat")).to_contain_text("Stopped")
    assert double.requests[1].body["messages"][-1]["content"] == "A long one\nin two lines"


def test_an_app_that_does_not_allow_the_page_says_so(site: Browser, host: Host, world: World, server: Server) -> None:
    update_app(app_id=world.app_id, allowed_origins=["https://else.example"], now=now(), actor=ACTOR)
    notice(server)
    page = site.page()
    page.goto(host.show("<faucet-mode {app}></faucet-mode><faucet-usage {app}></faucet-usage>"))
    expect(page.locator("faucet-usage").get_by_role("button", name="Try again")).to_be_visible()
    site.problems[:] = [each for each in site.problems if "CORS" not in each]


def test_anonymous_visitor_is_asked_to_sign_in_where_that_is_needed(
    site: Browser, host: Host, world: World, server: Server
) -> None:
    update_app(app_id=world.app_id, anonymous_allowance=nano_from_usd("0.05"), now=now(), actor=ACTOR)
    notice(server)
    page = site.page()
    app = host.attributes(anonymous=True)
    page.goto(
        host.show(
            f"<faucet-byok {app}></faucet-byok><faucet-credits {app}></faucet-credits>"
            f"<faucet-usage {app}></faucet-usage>"
        )
    )
    expect(page.locator("faucet-byok")).to_contain_text("once you have signed in")
    expect(page.locator("faucet-credits")).to_contain_text("Sign in to the app to buy credit.")
    expect(page.locator("faucet-usage")).to_contain_text("No requests yet.")
    assert page.get_by_role("alert").count() == 0


def test_elements_of_one_app_share_a_session_and_a_language(site: Browser, host: Host) -> None:
    page = site.page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url.removeprefix(host.gateway)}"))
    spoken: set[str | None] = set()
    page.on(
        "request",
        lambda request: spoken.add(request.headers.get("accept-language")) if "/user/" in request.url else None,
    )
    page.goto(host.show(ALL, language="zh-CN"))
    settled(page)
    assert [asked.count(f"{what}") for what in ("POST /v1/sessions", "GET /v1/user/wallet")] == [1, 1]
    assert spoken == {"zh-CN"}


def test_language_and_theme_change_in_place(site: Browser, host: Host) -> None:
    page = site.page()
    page.goto(host.show("<faucet-chat {app}></faucet-chat>"))
    chat = page.locator("faucet-chat")
    expect(chat).to_contain_text("How can I help?")
    page.get_by_role("textbox", name="Message").fill("half a thought")
    page.evaluate("document.documentElement.lang = 'zh-CN'")
    expect(chat).to_contain_text("有什么可以帮您？")
    expect(page.get_by_role("textbox", name="消息")).to_have_value("half a thought")
    background = "each => getComputedStyle(each.shadowRoot.querySelector('.panel')).backgroundColor"
    assert chat.evaluate(background) == "rgb(255, 255, 255)"
    chat.evaluate("each => each.setAttribute('theme', 'dark')")
    assert chat.evaluate(background) == "rgb(13, 32, 39)"
    chat.evaluate("each => each.style.setProperty('--faucet-surface', 'rgb(1, 2, 3)')")
    assert chat.evaluate(background) == "rgb(1, 2, 3)"
