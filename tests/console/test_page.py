import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.test import Client

from tests.console.factories import Demo, Page

STATIC = Path(project.BASE_DIR) / "static" / "console"
LANGUAGES = ("en", "zh-hans")


def page(client: Client, path: str = "/", language: str = "en") -> Page:
    response = client.get(path, headers={"accept-language": language})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Page(response.content.decode())


def test_page_is_served_and_never_cached(client: Client, demo_app: Demo) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert "no-store" in response.headers["cache-control"]


def test_policy_allows_nothing_inline_and_nothing_foreign(client: Client, demo_app: Demo) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("demo", [True, False])
def test_pages_have_nothing_inline(client: Client, demo_app: Demo, settings: Any, language: str, demo: bool) -> None:
    settings.DEMO = demo
    for path in ("/", "/no-such-page"):
        found = page(client, path, language)
        assert found.inline == []
        assert len(found.ids) == len(set(found.ids))
        assert [address for address in found.addresses if not address.startswith(("/", "#"))] == []


def test_what_the_page_loads_is_served(client: Client, demo_app: Demo) -> None:
    for address in page(client).addresses:
        if address.startswith("/static/"):
            assert (STATIC / address.removeprefix("/static/console/")).is_file()
    for script in STATIC.glob("js/*.js"):
        for imported in re.findall(r'from "\./(\w+\.js)"', script.read_text()):
            assert (STATIC / "js" / imported).is_file()
    for image in re.findall(r"url\((.+?)\)", (STATIC / "page.css").read_text()):
        assert (STATIC / image).is_file()


def test_static_files_run_and_load_nothing_that_the_policy_forbids() -> None:
    forbidden = re.compile(r"https?://(?!www\.w3\.org/)|\beval\(|innerHTML|new Function|<script|<style| style=|@import")
    found = [
        f"{path.name}: {match[0]}"
        for path in STATIC.rglob("*")
        if path.suffix in (".js", ".css", ".svg")
        for match in forbidden.finditer(path.read_text())
    ]
    assert found == []


def test_no_secret_is_on_the_page(client: Client, demo_app: Demo) -> None:
    html = client.get("/").content.decode()
    assert demo_app.secret not in html
    assert re.findall(r"mf_(?:app|key|sess|dev)_\w+", html) == []
    assert "app_pub_demo" in html and "http://testserver/v1/chat/completions" in html


def test_snippets_name_the_public_address(client: Client, demo_app: Demo, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://ai.example.com/"
    html = client.get("/").content.decode()
    assert "https://ai.example.com/v1/sessions" in html and "testserver/v1" not in html


def test_page_without_a_demo_app_still_stands(client: Client, db: None) -> None:
    assert client.get("/").status_code == 200


def test_demo_off_shows_no_chat_and_has_no_endpoints(client: Client, demo_app: Demo, settings: Any) -> None:
    settings.DEMO = False
    found = page(client)
    assert "message" not in found.ids and "api" in found.ids
    assert client.post("/demo/session", headers={"origin": "http://testserver"}).status_code == 404
    assert client.get("/demo/state").status_code == 404


def test_unknown_page_is_a_404_in_our_own_words(client: Client, db: None) -> None:
    response = client.get("/no-such-page")
    assert response.status_code == 404
    assert "This tap is dry" in response.content.decode()


def test_error_page_stands_without_a_request() -> None:
    from django.template.loader import render_to_string

    assert Page(render_to_string("500.html")).inline == []


@pytest.mark.parametrize(
    ("cookie", "attribute"), [("dark", 'data-theme="dark"'), ("light", 'data-theme="light"'), ('"><b>', None)]
)
def test_theme_comes_as_chosen(client: Client, demo_app: Demo, cookie: str, attribute: str | None) -> None:
    client.cookies["theme"] = cookie
    opening = client.get("/").content.decode().partition("<head>")[0]
    assert attribute in opening if attribute else "data-theme" not in opening


def test_language_is_the_browsers_until_one_is_chosen(client: Client, demo_app: Demo) -> None:
    assert "Where the money goes" in page(client, language="en").text
    assert "钱去了哪里" in page(client, language="zh-CN,zh;q=0.9").text
    client.post("/language", {"language": "en", "next": "/"})
    assert "Where the money goes" in page(client, language="zh-CN").text
