"""A walk through pages as a person takes it: by what they say, in the person's language, with a look at each step."""

import re
from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext, ngettext
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Browser

# WhiteNoise serves files, which Django would rather not have under ASGI, and leaves one to the garbage collector where
# the browser was done with it sooner than its answer.
SERVED_BY_ASGI = pytest.mark.filterwarnings(
    "ignore:StreamingHttpResponse must consume synchronous iterators",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
CJK = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[A-Za-z]{3,}")
# Each story is walked like this: at a desk in English, and with a phone in the dark in Chinese.
WAYS: dict[str, dict[str, Any]] = {
    "en-desktop": {"language": "en", "width": DESKTOP, "dark": False},
    "zh-phone": {"language": "zh-CN", "width": PHONE, "dark": True},
}
# Texts that people read, each with where it stands; what is code, an id, a name or English on purpose is left out.
_TEXTS = """root => {
  const found = new Set();
  const left_out = "script, style, code, pre, textarea, .id, [lang]:not(html), option, noscript, time, svg";
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (parent.closest(left_out) || !parent.checkVisibility()) continue;
    const text = node.textContent.trim();
    if (text) found.add(text);
  }
  for (const name of ["placeholder", "aria-label", "title"]) {
    for (const each of root.querySelectorAll(`[${name}]`)) {
      if (!each.closest("[lang]:not(html)")) found.add(each.getAttribute(name).trim());
    }
  }
  return [...found];
}"""
# A value without the remark beside it.
_VALUE = """each => {
  const copy = each.cloneNode(true);
  copy.querySelectorAll("small, .note").forEach(remark => remark.remove());
  return copy.textContent.trim().replace(/\\s+/g, " ");
}"""


class Walk:
    """A person with a browser: what they click is named by its English text, and looked for in their language."""

    def __init__(self, browser: Browser, story: str, way: str, *, names: tuple[str, ...] = (), steps: int = 0) -> None:
        """Open a page for a story that was looked at `steps` times; `names` are the same in every language."""
        self.browser, self.story, self.way = browser, story, way
        self.language = "zh-hans" if way.startswith("zh") else "en"
        self.page: Page = browser.page(**WAYS[way])
        self.names = names
        self.steps = steps

    def words(self, msgid: str, **values: Any) -> str:
        """Return a text of the pages in this person's language."""
        with translation.override(self.language):
            return gettext(msgid) % values if values else gettext(msgid)

    def many(self, one: str, several: str, count: int, **values: Any) -> str:
        """Return a text that depends on a number, in this person's language."""
        with translation.override(self.language):
            return ngettext(one, several, count) % values

    def to(self, path: str) -> None:
        self.page.goto(self.browser.url(path) if path.startswith("/") else path)

    def link(self, msgid: str, **where: Any) -> None:
        found = self.page.get_by_role("link", name=self.words(msgid), exact=True).first
        self.page.wait_for_load_state()
        menu = self.page.locator(".menu-button")
        if menu.is_visible() and not found.is_visible():  # a phone has the console's pages behind a button
            menu.click()
        found.click(**where)

    def button(self, msgid: str, **values: Any) -> None:
        self.page.get_by_role("button", name=self.words(msgid, **values), exact=True).first.click()

    def fill(self, msgid: str, value: str) -> None:
        self.field(msgid).fill(value)

    def field(self, msgid: str) -> Locator:
        # What is optional is marked so after the name.
        named = self.page.get_by_label(re.compile(f"^{re.escape(self.words(msgid))}"))
        return named.and_(self.page.locator("input, textarea, select")).first

    def choose(self, msgid: str) -> None:
        self.page.get_by_label(self.words(msgid), exact=True).check()

    def sees(self, msgid: str, **values: Any) -> None:
        """Expect a text of the pages to be there."""
        expect(self.page.get_by_text(self.words(msgid, **values)).first).to_be_visible()

    def reads(self, *texts: str) -> None:
        """Expect these very strings, amounts and ids, to be in the page."""
        for text in texts:
            expect(self.page.locator("main, #content").first).to_contain_text(text)

    def fact(self, msgid: str) -> str:
        """Return what stands beside a name in a list of facts or a tile, without its remark."""
        name = re.compile(f"^\\s*{re.escape(self.words(msgid))}\\s*$")
        term = self.page.locator("dt").filter(has_text=name).first
        value: str = term.locator("xpath=following-sibling::dd[1]").evaluate(_VALUE)
        return value

    def rows(self, msgid: str) -> list[list[str]]:
        """Return the cells of the rows of the table beneath a title."""
        title = (
            self.page.locator("h2, h3").filter(has_text=re.compile(f"^\\s*{re.escape(self.words(msgid))}\\s*$")).first
        )
        return self.table(title.locator("xpath=following::table[1]"))

    def table(self, table: Locator | None = None) -> list[list[str]]:
        """Return the cells of a table's rows, the page's only one if none is given."""
        table = table or self.page.locator("main table, #content table").first
        texts = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))"
        cells: list[list[str]] = table.locator("tbody tr").evaluate_all(texts)
        return cells

    def look(self, step: str, *, within: str = "body") -> None:
        """Keep a picture; nothing may stick out of the window, and a Chinese page is Chinese, at least `within`."""
        self.steps += 1
        self.browser.screenshot(self.page, f"story-{self.story}-{self.way}-{self.steps:02d}-{step}")
        if self.language != "en":
            english = self.english(within)
            assert english == [], f"{self.page.url}: {english}"

    def english(self, within: str = "body") -> list[str]:
        """Return the texts of the page that have words and none of them in Chinese."""
        texts = self.page.locator(within).first.evaluate(_TEXTS)
        return [text for text in texts if not CJK.search(text) and WORD.search(self._without_names(text))]

    def _without_names(self, text: str) -> str:
        for name in (*NAMES, *self.names):
            text = text.replace(name, "")
        return re.sub(r"\S+@\S+|https?://\S+|\b[a-z]+_[0-9a-zA-Z]{6,}\b", "", text)


# Names of products, formats and units.
NAMES = (
    "ModelFaucet",
    "Python",
    "JavaScript",
    "curl",
    "CSV",
    "JSON",
    "API",
    "UTC",
    "USD",
    "Stripe",
    "Apache License 2.0",
)
