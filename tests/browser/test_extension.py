"""The extension example, unpacked, in Chromium before the real gateway: a nameless device asks and pays."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, Worker, expect

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.models import EndUser
from apps.features.queries import app_by_id
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import adjust, grant
from apps.usage.models import UsageEvent
from tests.browser.axe import violations
from tests.browser.conftest import SCREENSHOTS
from tests.browser.walk import SERVED_BY_ASGI
from tests.gateway.api_factories import make_developer_token
from tests.live import ACTOR, MODEL, Server, World, differences, notice, rate_all, wait_until
from tests.packages.bridge import bridge_before
from tests.provider_double import Behaviour, ProviderDouble
from tests.test_house import ROOT

pytestmark = [SERVED_BY_ASGI, pytest.mark.timeout(300)]
EXAMPLE = ROOT / "examples" / "browser-extension"
TEXT = "The harbour master counts every vessel twice, once by sight and once by its papers."
PAGE = "http://localhost"
LOCAL_MODEL = "llama-of-a-reader"
WIDTH = 420
expect.set_options(timeout=15_000)


class Extension:
    """The extension in a profile of its own, and what its pages complain of."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.problems: list[str] = []
        self.worker: Worker = (
            context.service_workers[0] if context.service_workers else context.wait_for_event("serviceworker")
        )
        self.origin = "/".join(self.worker.url.split("/")[:3])

    def page(self, name: str, **media: Any) -> Page:
        page = self.context.new_page()
        page.set_viewport_size({"width": WIDTH, "height": 720})
        page.emulate_media(**media)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{self.origin}/{name}")
        return page

    def leave(self, task: str, text: str = TEXT) -> None:
        """Leave what the context menu does: the next popup takes it. The real one is no page to Playwright."""
        self.worker.evaluate(
            "([task, text]) => chrome.storage.session.set({pending: {task, text}})",
            [task, text],
        )

    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = self.worker.evaluate("() => chrome.storage.local.get()")
        return found


def look(page: Page, name: str) -> None:
    path = SCREENSHOTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH


@pytest.fixture
def folder(tmp_path: Path, server: Server, world: World) -> Path:
    """Give a copy of the example that `prepare.py` has made ready, and its app funded."""
    addresses.forget()
    set_app_terms(app_id=world.app_id, terms=TermsInput(markup_bps=4_000, share_bps=4_000), now=now(), actor=ACTOR)
    allowance = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=world.app_id, now=now())
    grant(allowance, nano_from_usd("5"), idempotency_key="extension", now=now(), actor=ACTOR)
    app = app_by_id(world.app_id)
    assert app is not None
    copy = tmp_path / "examples" / "browser-extension"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("sdk", "defaults.json", "__pycache__"))
    shutil.copytree(ROOT / "static" / "sdk", tmp_path / "static" / "sdk")
    known = {
        "BASE_URL": world.base_url,
        "APP_ID": world.app_id,
        "PUBLIC_APP_ID": app.public_id,
        "DEVELOPER_TOKEN": make_developer_token(world.developer_id),
        "MODEL": MODEL,
    }
    manifest = json.loads((copy / "manifest.json").read_text())
    # A person's click gives the extension the page before it (activeTab); a test cannot click on a browser's toolbar.
    (copy / "manifest.json").write_text(json.dumps({**manifest, "host_permissions": [f"{PAGE}/*"]}))
    environment = {**os.environ, **{f"FAUCET_{name}": value for name, value in known.items()}}
    for expected in ("feature explain", "Nothing to do"):
        command = [sys.executable, str(copy / "prepare.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
    notice(server)
    return copy


@pytest.fixture
def extension(folder: Path, tmp_path: Path, chromium: Chromium) -> Iterator[Extension]:
    """Give the extension, loaded as somebody who tries it would."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    loads = [f"--disable-extensions-except={folder}", f"--load-extension={folder}"]
    context = chromium.browser_type.launch_persistent_context(
        tmp_path / "profile",
        executable_path=path,
        headless=False,  # the old headless mode has no extensions; --headless=new has
        args=["--headless=new", "--no-sandbox", "--disable-gpu", *loads],
    )
    context.set_default_timeout(15_000)
    running = Extension(context)
    yield running
    context.close()
    assert [each for each in running.problems if "Failed to load resource" not in each] == []


def test_device_asks_pays_and_runs_out(extension: Extension, world: World, double: ProviderDouble) -> None:
    double.default = Behaviour(text="A harbour master checks ships against papers.", interval=0.02)
    extension.leave("summary")
    page = extension.page("popup.html", color_scheme="light")
    expect(page.locator("#text")).to_have_value(TEXT)
    expect(page.locator("#served")).to_have_text(re.compile(r"The app’s models \(test-model\), for \$0\.0\d+"))
    expect(page.locator("#answer")).to_have_text("A harbour master checks ships against papers.")
    expect(page.locator("#balance")).to_have_text(re.compile(r"^\$0\.04\d\d left$"))
    sent = double.requests[-1]
    assert sent.body["stream"] is True and TEXT in str(sent.body) and "sum up" in str(sent.body)
    assert sent.headers["authorization"] == "Bearer sk-double-0"
    look(page, "extension-summary")
    assert violations(page) == []

    page.get_by_label("Translate into").select_option("German")
    page.get_by_role("button", name="Translate").click()
    expect(page.locator("#served")).to_contain_text("$")
    wait_until(lambda: "Translate into German" in str(double.requests[-1].body), 10)
    page.get_by_role("button", name="Explain").click()
    wait_until(lambda: "Explain this in English" in str(double.requests[-1].body), 10)
    expect(page.locator("#served")).to_contain_text("$")

    users = EndUser.objects.filter(app_id=world.app_id, anonymous=True)
    wait_until(lambda: UsageEvent.objects.filter(end_user_id__in=users.values("id")).count() == 3, 20)
    user = users.get()  # one device, whatever was opened
    rate_all()
    assert differences() == []
    assert "mf_sess_" not in json.dumps(extension.stored())

    wallet = open_account(kind=AccountKind.END_USER, owner_id=user.id, now=now())
    rest = -balance(wallet).available
    adjust(wallet, rest, reason="the end of an allowance", idempotency_key="spent", now=now(), actor=ACTOR)
    before = len(double.requests)
    page.get_by_role("button", name="Summarise").click()
    expect(page.get_by_role("alert")).to_contain_text("Your free credit is used up.")
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#balance")).to_have_text("$0.0000 left")
    assert len(double.requests) == before
    look(page, "extension-used-up")


def test_real_popup_opens_from_the_context_menu_and_reads_the_selection(
    extension: Extension, double: ProviderDouble
) -> None:
    double.default = Behaviour(text="Read in the popup.")
    watcher = extension.page("options.html")
    extension.context.route(f"{PAGE}/**", lambda route: route.fulfill(content_type="text/html", body=f"<p>{TEXT}</p>"))
    article = extension.context.new_page()
    article.goto(f"{PAGE}/article")
    article.evaluate("getSelection().selectAllChildren(document.querySelector('p'))")
    shown = "what => chrome.extension.getViews({type: 'popup'})[0]?.document.querySelector(what)?."

    extension.worker.evaluate(
        "text => { chrome.contextMenus.onClicked.dispatch({menuItemId: 'translate', selectionText: text}) }", "Ahoy"
    )
    wait_until(lambda: watcher.evaluate(f"{shown}textContent", "#answer") == "Read in the popup.", 20)
    assert "Ahoy" in str(double.requests[-1].body) and "Translate into English" in str(double.requests[-1].body)
    watcher.evaluate("chrome.extension.getViews({type: 'popup'})[0].close()")

    article.bring_to_front()
    extension.worker.evaluate("() => chrome.action.openPopup()")
    wait_until(lambda: watcher.evaluate(f"{shown}value", "#text") == TEXT, 20)
    wait_until(lambda: "left" in (watcher.evaluate(f"{shown}textContent", "#balance") or ""), 20)
    assert len(double.requests) == 1  # nothing is sent before somebody chooses what to do


def test_stop_ends_the_call(extension: Extension, double: ProviderDouble) -> None:
    double.default = Behaviour(chunks=2000, interval=0.02)
    extension.leave("explain")
    page = extension.page("popup.html")
    expect(page.locator("#answer")).to_contain_text(re.compile(r"\w+ \w+"))  # it streams
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#served")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    came = page.locator("#answer").inner_text()
    assert came and page.get_by_role("button", name="Copy").is_visible()
    page.wait_for_timeout(300)
    assert page.locator("#answer").inner_text() == came


def test_options_are_kept_and_chinese_is_spoken_everywhere(
    extension: Extension, world: World, double: ProviderDouble
) -> None:
    options = extension.page("options.html", color_scheme="dark")
    expect(options.get_by_label("Gateway address")).to_have_value(world.base_url)
    expect(options.locator("#origin")).to_have_text(extension.origin)
    assert violations(options) == []
    options.get_by_label("Gateway address").fill("http://127.0.0.1:9")
    options.get_by_label("Language").select_option("zh_CN")
    options.get_by_role("button", name="Save").click()
    expect(options.get_by_role("status")).to_have_text("已保存。")
    assert extension.stored()["settings"]["baseUrl"] == "http://127.0.0.1:9"
    look(options, "extension-options-zh-dark")

    page = extension.page("popup.html", color_scheme="dark")
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="总结").click()
    expect(page.get_by_role("alert")).to_contain_text("无法连接网关")
    options.reload()
    expect(options.get_by_label("网关地址")).to_have_value("http://127.0.0.1:9")
    options.get_by_label("网关地址").fill(world.base_url)
    options.get_by_role("button", name="保存").click()
    expect(options.get_by_role("status")).to_have_text("已保存。")

    extension.leave("translate")
    page.reload()
    expect(page.locator("#served")).to_contain_text("应用自带的模型（test-model），费用 $0.0")
    assert "Translate into Simplified Chinese" in str(double.requests[-1].body)
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert violations(page) == []
    look(page, "extension-zh-dark")


def test_selection_for_this_computer_never_reaches_the_gateway(
    extension: Extension, world: World, double: ProviderDouble, tmp_path: Path
) -> None:
    with (
        ProviderDouble() as at_home,
        bridge_before(at_home.base_url, LOCAL_MODEL, tmp_path / "bridge") as bridge,
    ):
        at_home.default = Behaviour(text="Said at home.")
        page = extension.page("popup.html")
        page.evaluate("url => chrome.storage.local.set({settings: {bridgeUrl: url}})", bridge.url)
        page.reload()
        page.get_by_label("This computer").check()
        expect(page.locator("#local")).to_contain_text(re.compile(r"allow \d+"))
        bridge.run("allow", re.sub(r"\D", "", page.locator("#local").inner_text()))
        expect(page.locator("#local")).to_contain_text("Connected")
        told: list[str] = []
        page.on("request", lambda sent: told.append(f"{sent.url} {sent.post_data or ''}"))
        page.locator("#text").fill(TEXT)
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#answer")).to_have_text("Said at home.")
        expect(page.locator("#served")).to_contain_text(f"This computer ({LOCAL_MODEL})")
        look(page, "extension-local")
        assert TEXT in str(at_home.requests[-1].body) and double.requests == []
        at_gateway = [each for each in told if world.base_url in each]
        assert at_gateway and not any(TEXT in each for each in at_gateway)
        wait_until(lambda: UsageEvent.objects.filter(app_id=world.app_id, route_mode="local").exists(), 20)


def test_extension_asks_for_no_more_than_it_needs() -> None:
    manifest = json.loads((EXAMPLE / "manifest.json").read_text())
    assert manifest["permissions"] == ["activeTab", "contextMenus", "scripting", "storage"]
    assert not {"host_permissions", "optional_host_permissions", "content_scripts"} & set(manifest)
    policy = manifest["content_security_policy"]["extension_pages"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    assert len(base64.b64decode(manifest["key"])) == 294  # a public key of 2048 bits, and nothing more


def test_both_languages_say_everything_that_the_pages_ask_for() -> None:
    said = {path.parent.name: json.loads(path.read_text()) for path in EXAMPLE.glob("_locales/*/messages.json")}
    assert set(said) == {"en", "zh_CN"} and set(said["en"]) == set(said["zh_CN"])
    sources = "".join(path.read_text() for path in EXAMPLE.glob("*.[hj]*") if path.suffix in {".html", ".js"})
    asked = set(re.findall(r"data-(?:word|label)=\"(\w+)\"|words\(\"(\w+)\"", sources))
    assert {a or b for a, b in asked} <= set(said["en"])
    for name, english in said["en"].items():
        assert re.findall(r"\{\w+\}", english["message"]) == re.findall(r"\{\w+\}", said["zh_CN"][name]["message"])
