"""What pages say for codes, each beside its code, by which logs and tables are searched.

Whose key it was, `route` and `policy` tell operators.
"""

from typing import Any

from django import template
from django.utils.html import format_html

from apps.console.call_words import cache_words, failure_words, policy_words, reason_words, route_words, task_words
from apps.console.developer.money_words import entry_words

register = template.Library()


@register.filter
def route(mode: str) -> str:
    return _coded(route_words(mode, operator=True), mode)


@register.filter
def policy(name: str | None) -> str:
    return _coded(policy_words(name, operator=True), name)


@register.filter
def reason(code: str) -> str:
    return _coded(reason_words(code), code)


@register.filter
def failure(code: str) -> str:
    return _coded(failure_words(code), code)


@register.filter
def task(task_class: str) -> str:
    return _coded(task_words(task_class), task_class)


@register.filter
def cache(hit: str) -> str:
    return _coded(cache_words(hit), hit)


@register.filter
def entry(kind: str) -> str:
    return str(entry_words(kind, operator=True))


def _coded(words: Any, code: str | None) -> str:
    if not code:
        return "–"
    return format_html("<code>{}</code>", code) if words == code else format_html("{} <code>{}</code>", words, code)
