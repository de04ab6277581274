import time

import pytest

from modelfaucet.demo.answers import answer
from modelfaucet.demo.arithmetic import calculate
from modelfaucet.demo.completion import Refused, complete, count, pieces, shorten
from modelfaucet.demo.tools import choose_tool, example
from modelfaucet.demo.topics import GREETING, SELF, THANKS, TOPICS


def say(*texts, detailed=False):
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "…"}]
    return answer(messages[:-1], detailed=detailed)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("12 * 34.5", "12 * 34.5 = 414"),
        ("What is 7 - 10?", "7 - 10 = -3"),
        ("计算 12 × (3 + 4)", "12 × (3 + 4) = 84"),
        ("2^10", "2^10 = 1024"),
        ("what is 1,000 + 2,500.50", "1,000 + 2,500.50 = 3500.5"),
        ("10 / 3", "10 / 3 = 3.3333333333 (rounded)"),
        ("5 / 0", "5 / 0 = undefined (division by zero)"),
        ("15% of 80", "15% of 80 = 12"),
        ("0.1 + 0.2", "0.1 + 0.2 = 0.3"),
        ("uppercase: héllo", "HÉLLO"),
        ("大写：abc", "ABC"),
        ("Lowercase: ABC", "abc"),
        ("reverse: abc", "cba"),
        ("echo: the same\nagain", "the same\nagain"),
        ('Say "good luck"', "good luck"),
        ("count the words: one two three", "3 words, 13 characters, 1 lines."),
        ("Please count to 5", "1, 2, 3, 4, 5."),
        ("从 3 数到 6", "3, 4, 5, 6."),
        ("summarise: One. Two.", "One. Two."),
        ("What is my name?", "You have not told me your name."),
    ],
)
def test_skill_answers(asked, said):
    assert say(asked) == said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Sum up this text in at most 1 sentences.\n\n<text>\nCats purr. Cats hunt. Dogs bark.\n</text>", "Cats purr."),
        ("请用不超过 1 句话概括下面的文字。\n\n<text>\n猫会叫。猫很软。狗在外面。\n</text>", "猫会叫。"),
    ],
)
def test_summary_as_the_typed_feature_asks_for_it(asked, said):
    assert say(asked) == said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Draft a reply.\n<message>\nHello. Can you send a quote?\n</message>", "“Can you send a quote?”"),
        ("起草回复\n<message>\n您好。能报价吗？\n</message>", "“能报价吗？”"),
    ],
)
def test_reply_speaks_of_what_was_asked(asked, said):
    assert said in say(asked)


def test_summary_keeps_what_is_said_most():
    text = (
        "Cats sleep. Cats hunt mice at night. Dogs bark. Cats that hunt mice at night sleep by day. Nobody knows why."
    )
    summary = say(f"Summarise: {text}")
    assert "hunt mice" in summary
    assert "Dogs" not in summary
    assert len(summary) < len(text) / 2


@pytest.mark.parametrize("text", ["On 2024-10-21 we met", "call 555-1234", "9^999999", "1" * 400 + " ** 100", "a - b"])
def test_what_is_no_sum_is_not_worked_out(text):
    assert calculate(text) is None


def test_conversation_is_remembered():
    assert say("My name is Ada.", "What is my name?") == "Your name is Ada."
    assert say("我叫小明", "我叫什么") == "你叫小明。"
    assert say("blue", "What did I say?") == "You said: blue"


@pytest.mark.parametrize(
    ("asked", "topic"),
    [
        ("What is ModelFaucet?", TOPICS[0]),
        ("What does a call cost?", TOPICS[1]),
        ("Who gets paid?", TOPICS[2]),
        ("How does the ledger work?", TOPICS[3]),
        ("Who are you?", SELF),
        ("Say hello", GREETING),
        ("Thanks!", THANKS),
        ("这次调用花多少钱？", TOPICS[1]),
        ("介绍一下这个项目", TOPICS[0]),
        ("你好", GREETING),
    ],
)
def test_topic_is_told_in_the_language_of_the_question(asked, topic):
    short, more = topic.english if asked.isascii() else topic.chinese
    assert say(asked) == short
    assert say(asked, detailed=True).endswith(more)


def test_unknown_question_is_answered_with_what_is_known():
    assert "whales" in say("Tell me about whales")
    assert "鲸鱼" in say("聊聊鲸鱼")
    assert say("")


@pytest.mark.parametrize(
    "text", ["(" * 200_000, " " * 200_000 + "1", "1" * 200_000, 'say "' + '"' * 200_000 + "x", "a.b\n" * 50_000]
)
def test_answer_to_anything_is_quick(text):
    started = time.monotonic()
    say(text)
    say(f"summarise: {text}")
    assert time.monotonic() - started < 2


def test_pieces_join_up_to_the_text():
    for text in ("Hello, world! ", "你好，世界。Good 早上", "  lead", "tail  \n", "", "\n\n", "🤖🤖 x"):
        assert "".join(pieces(text)) == text
    assert pieces("one two") == ["one ", "two"]
    assert len(pieces("一次调用花多少钱")) == 4


def test_shorten_never_cuts_a_character():
    text = "🦄🤖 你好，世界。" * 5
    for most in range(1, count(text) + 2):
        short, used = shorten(text, most)
        assert text.startswith(short)
        assert used <= most
        assert count(short) == used


WEATHER = {
    "name": "get_current_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "note": {"type": "string"},
        },
        "required": ["city", "unit"],
    },
}
ORDER = {"name": "placeOrder", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": ORDER}]


@pytest.mark.parametrize(
    ("asked", "choice", "chosen"),
    [
        ("What's the weather in Paris?", "auto", WEATHER),
        ("I want to place two orders", None, ORDER),
        ("Tell me the current time", "auto", None),
        ("What's the weather?", "none", None),
        ("hello", "required", WEATHER),
        ("hello", {"type": "function", "function": {"name": "placeOrder"}}, ORDER),
        ("hello", {"type": "function", "function": {"name": "unknown"}}, None),
    ],
)
def test_tool_is_chosen_by_what_its_name_speaks_of(asked, choice, chosen):
    assert choose_tool(TOOLS, choice, asked) == chosen


def test_arguments_satisfy_the_schema():
    asked = "What's the weather in New York, in fahrenheit?"
    assert example(WEATHER["parameters"], asked) == {"city": "New York", "unit": "fahrenheit"}
    schema = {
        "type": "object",
        "$defs": {"item": {"type": "object", "properties": {"sku": {"const": "A1"}}, "required": ["sku"]}},
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 2},
            "quantity": {"type": "integer", "minimum": 1, "maximum": 9},
            "ratio": {"type": ["null", "number"], "exclusiveMinimum": 0},
            "when": {"type": "string", "format": "date"},
            "code": {"type": "string", "minLength": 3, "maxLength": 4},
            "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "both": {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"type": "object"}]},
        },
        "required": ["items", "quantity", "ratio", "when", "code", "either", "both"],
    }
    made = example(schema, "order 12 of 7")
    assert made["items"] == [{"sku": "A1"}, {"sku": "A1"}]
    assert made["quantity"] == 7
    assert made["ratio"] > 0
    assert made["when"] == "2025-01-31"
    assert 3 <= len(made["code"]) <= 4
    assert made["either"] is True
    assert made["both"] == {"a": None}


def test_schema_that_refers_to_itself_ends():
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    assert "child" in example(schema, "x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": 5},
        {
            "tools": [{"function": {"name": "x", "parameters": {"type": "object", "required": 5}}}],
            "tool_choice": "required",
        },
        {"stop": 5},
        {"n": 0},
        {"n": 9},
        {"n": "two"},
        {"max_tokens": -1},
        {"max_tokens": True},
        {"response_format": 5},
        {"stream_options": 5},
        {"messages": []},
        {"messages": ["hi"]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
    ],
)
def test_wrong_value_is_refused(wrong):
    body = {"model": "faucet-demo", "messages": [{"role": "user", "content": "hi"}]} | wrong
    with pytest.raises(Refused) as caught:
        complete(body, created=0)
    assert caught.value.status == 400
