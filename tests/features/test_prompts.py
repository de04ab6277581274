"""Templates of typed features: input stays text, nothing is reached or called, and nothing grows without bound."""

import time
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.features.prompts import MAX_ITERATIONS, MAX_RENDERED, PromptProblem, check_template, render


def rendered(source: str, **given: Any) -> str:
    check_template(source, "prompt.user")
    return render(source, given)


@pytest.mark.parametrize(
    ("source", "given", "text"),
    [
        ("Say {{ input.what }}.", {"what": "hi"}, "Say hi."),
        ("{{ input.a.b[1] }}", {"a": {"b": ["x", "y"]}}, "y"),
        ("{{ input['a b'] }}", {"a b": 1}, "1"),
        ("{{ input.items }} {{ input.keys }}", {"items": "mine", "keys": 2}, "mine 2"),
        ("{{ input.o }} {{ input.l }}", {"o": {"k": "é"}, "l": [1, "<"]}, '{"k": "é"} [1, "<"]'),
        ("{{ input.n }}|{{ input.b }}|{{ input.f }}", {"n": None, "b": True, "f": 0.5}, "|true|0.5"),
        ("{{ input.x|default('none') }}", {}, "none"),
        ("{% if input.x is defined %}yes{% else %}no{% endif %}", {}, "no"),
        ("{% if input.t == 'a' and input.n > 2 or not input.n %}1{% else %}2{% endif %}", {"t": "a", "n": 3}, "1"),
        ("{{ 'short' if input.n in [1, 2] else 'long' }}", {"n": 2}, "short"),
        ("{% for a in input.l %}\n{{ loop.index }}: {{ a.t|upper }}\n{% endfor %}", {"l": [{"t": "x"}]}, "1: X\n"),
        ("{% for a in input.l %}{{ a }}/{{ loop.length }}{% endfor %}", {"l": [8, 9]}, "8/29/2"),
        ("{% for a in input.l %}{% for b in a %}{{ b }}{% endfor %};{% endfor %}", {"l": [[1, 2], [3]]}, "12;3;"),
        ("{% for a in input.l %}x{% else %}nothing{% endfor %}", {"l": []}, "nothing"),
        ("{{ input.l|join(', ') }} {{ input.l|length }} {{ input.l|sort|first }}", {"l": ["b", "a"]}, "b, a 2 a"),
        ("{{ input.t|trim|truncate(8) }}", {"t": "  hello wonderful world "}, "hello..."),
        ("{{ input.o|tojson }}", {"o": {"a": [1]}}, '{"a": [1]}'),
        ("{{ 翻译 }}", {}, None),
        ("把{{ input.文本 }}译成英文", {"文本": "你好"}, "把你好译成英文"),
    ],
)  # fmt: skip
def test_templates(source: str, given: dict[str, Any], text: str | None) -> None:
    if text is None:
        with pytest.raises(BadRequest):
            rendered(source, **given)
    else:
        assert rendered(source, **given) == text


@pytest.mark.parametrize(
    "text",
    ["{{ 7*7 }}", "{% for i in range(9) %}x{% endfor %}", "{# gone #}", "{{ input.secret }}", "<b>&amp;", "${7*7}"],
)
def test_input_that_looks_like_a_template_stays_text(text: str) -> None:
    assert rendered("{{ input.t }}/{{ [input.t]|join }}/{{ input.t|default('x') }}", t=text) == f"{text}/{text}/{text}"
    assert text in rendered("{{ input }}", t=text)
    assert rendered("{{ input.l[0] }}", l=[text]) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ input.__class__ }}",
        "{{ input['__class__'] }}",
        "{{ input.t.format }}",
        "{{ input.l.append }}",
        "{% for a in input.l %}{{ loop.__init__ }}{% endfor %}",
        "{% for a in input.l %}{{ loop['_iterator'] }}{% endfor %}",
        "{% for a in input.l %}{{ loop.cycle }}{% endfor %}",
        "{{ (input.t|upper).__class__ }}",
        "{{ input.missing.__class__ }}",
    ],
)
def test_no_attribute_of_an_object_is_reached(source: str) -> None:
    with pytest.raises((BadRequest, PromptProblem)):
        rendered(source, t="x", l=[1])


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(9) }}",
        "{{ input.t.format(1) }}",
        "{{ lipsum() }}",
        "{{ cycler }}",
        "{{ self }}",
        "{{ _budget }}",
        "{{ loop }}",
        "{{ other }}",
        "{{ input|attr('__class__') }}",
        "{{ input.l|map(attribute='x')|list }}",
        "{{ input.t|center(99999999) }}",
        "{{ input.t|replace('a', 'b') }}",
        "{{ input.t|_bounded }}",
        "{{ input.t|safe }}",
        "{{ input.l|join(input.t) }}",
        "{{ input.l|join('" + "x" * 21 + "') }}",
        "{{ input.o|tojson(99999999) }}",
        "{{ input.t|truncate(*input.l) }}",
        "{{ input.t * 99999999 }}",
        "{{ 2 ** 99999999 }}",
        "{{ input.t ~ input.t }}",
        "{{ input.t + input.t }}",
        "{{ '%99999999s' % input.t }}",
        "{{ -input.n }}",
        "{{ input.t[0:9] }}",
        "{{ input[input.t] }}",
        "{{ {'a': 1} }}",
        "{% set x = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% block b %}{% endblock %}",
        "{% call x() %}{% endcall %}",
        "{% filter upper %}{% endfilter %}",
        "{% with a = 1 %}{% endwith %}",
        "{% if input.t is callable %}{% endif %}",
        "{% for a in input.l recursive %}{% endfor %}",
        "{% for a in input.l if a %}{% endfor %}",
        "{% for a, b in input.l %}{% endfor %}",
        "{% for input in input.l %}{% endfor %}",
        "{% for _budget in input.l %}{% endfor %}",
        "{% for a in input.l %}{% for b in a %}{% for c in b %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in input.l %}{% endfor %}{{ a }}",
        "{{",
        "{% endfor %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ " + "not " * 5000 + "1 }}",
    ],
)
def test_what_a_template_may_not_have_is_refused_when_saved(source: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_template(source, "prompt.user")
    assert (caught.value.code, caught.value.param) == ("invalid_manifest", "prompt.user")


def test_loops_are_bounded() -> None:
    source = "{% for a in input.l %}{% for b in input.l %}{% endfor %}{% endfor %}"
    side = int(MAX_ITERATIONS**0.5) - 1
    assert rendered(source, l=[1] * side) == ""
    begun = time.monotonic()
    with pytest.raises(PromptProblem, match=str(MAX_ITERATIONS)):
        rendered(source, l=[1] * 100_000)
    assert time.monotonic() - begun < 1
    assert rendered(source, l=[1] * side) == ""  # each rendering has a budget of its own


def test_length_is_bounded_while_it_grows() -> None:
    assert len(rendered("{{ input.t }}", t="x" * MAX_RENDERED)) == MAX_RENDERED
    begun = time.monotonic()
    with pytest.raises(PromptProblem, match=str(MAX_RENDERED)):
        rendered("{% for a in input.l %}{{ input.t }}{% endfor %}", l=[1] * 1000, t="x" * 900_000)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("{{ input.missing }}", {}),
        ("{{ input.a.missing }}", {"a": {}}),
        ("{{ input.l[5] }}", {"l": [1]}),
        ("{{ input.l[5] }}", {"l": "text"}),
        ("{% for a in input.t %}{% endfor %}", {"t": "secret text"}),
        ("{{ input.l|sort }}", {"l": [1, "secret"]}),
        ("{% if input.t > 5 %}{% endif %}", {"t": "secret"}),
        ("{{ input.n|round(2) }}", {"n": "secret"}),
    ],
)
def test_input_that_does_not_fit_is_the_callers_problem_and_is_not_quoted(source: str, given: dict[str, Any]) -> None:
    with pytest.raises(PromptProblem) as caught:
        rendered(source, **given)
    assert "secret" not in str(caught.value)


def test_missing_member_is_named() -> None:
    with pytest.raises(PromptProblem, match="needs 'tone'"):
        rendered("{{ input.tone }}", text="x")
