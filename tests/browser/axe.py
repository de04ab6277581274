"""axe-core looks at a page: what it finds wrong for people who read, hear or steer otherwise, by its own rules."""

from typing import Any

from playwright.sync_api import Page

from tests.clients.environment import client_environment

SERIOUS = ("serious", "critical")


def violations(page: Page, *, impacts: tuple[str, ...] = SERIOUS, rules: tuple[str, ...] = ()) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA in the page and in its shadow roots, a line each.

    With `rules` it looks for those alone.
    """
    source = client_environment() / "node_modules" / "axe-core" / "axe.min.js"
    if not page.evaluate("'axe' in window"):
        page.evaluate(source.read_text())  # through the debugger, so that the page's content security policy allows it
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found: dict[str, Any] = page.evaluate(
        "([type, values]) => axe.run(document, {runOnly: {type, values}, resultTypes: ['violations']})",
        ["rule", [*rules]] if rules else ["tag", tags],
    )
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node.get('failureSummary', '')}"
        for each in found["violations"]
        if each["impact"] in impacts
        for node in each["nodes"]
    ]
