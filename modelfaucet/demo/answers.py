"""What the demo provider says: deterministic, useful for showing a gateway, in the language it was asked in. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelfaucet.demo.arithmetic import calculate
from modelfaucet.demo.topics import GREETING, SELF, THANKS, TOPICS, Topic

_CJK = re.compile(r"[\u3400-\u9fff]")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_WORD = re.compile(r"[^\W\d_]{4,}|[\u3400-\u9fff]{2}")
_SAY = re.compile(r"(?is)\s*(?:please\s+)?(?:echo|say|repeat)\s+[\"“'](.+)[\"”']\W*")
_COUNT = re.compile(r"(?i)\bcount(?: from (\d{1,6}))? (?:up )?to (\d{1,6})|从\s*(\d{1,6})\s*数到\s*(\d{1,6})")
# What the typed feature of the demo puts around a text, and how long it asks the summary to be.
_TAGS = re.compile(r"</?text>")
_AT_MOST = re.compile(r"(?i)[^:：\n]{0,60}?(?:at most (\d{1,2}) sentences?|不超过\s*(\d{1,2})\s*句)")
_NAME = re.compile(r"(?i:my name is|i am called|call me)\s+(\w+)|我叫\s*([\w\u3400-\u9fff]{1,8})")
_MESSAGE = re.compile(r"(?s)<message>\s*(.+?)\s*</message>")
LARGEST_COUNT = 500
LONGEST_TEXT = 20_000  # characters that are looked at: an answer must not take long, whatever is asked
LONGEST_COMMAND = 1_000  # the same, for patterns whose time can grow with the square of the length


@dataclass(frozen=True)
class Question:
    """The last thing asked, and what was said before it."""

    text: str
    earlier: tuple[str, ...]  # the user's earlier messages
    detailed: bool  # the model is one that tells more

    @property
    def chinese(self) -> bool:
        return bool(_CJK.search(self.text))

    def tell(self, english: str, chinese: str) -> str:
        return chinese if self.chinese else english


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_asked(messages: Sequence[dict[str, Any]]) -> str:
    """Return the last thing the user said, as much of it as is looked at."""
    texts = (text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user")
    return next(texts, "").strip()[:LONGEST_TEXT]


def answer(messages: Sequence[dict[str, Any]], *, detailed: bool) -> str:
    """Return the answer to a conversation (OpenAI's messages)."""
    if messages and messages[-1].get("role") == "tool":
        return _after_tool(messages)
    asked = [text_of(each.get("content"))[:LONGEST_TEXT] for each in messages if each.get("role") == "user"]
    question = Question(last_asked(messages), tuple(asked[:-1]), detailed)
    for skill in _SKILLS:
        said = skill(question)
        if said is not None:
            return said
    return _fallback(question)


def _after_tool(messages: Sequence[dict[str, Any]]) -> str:
    results = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.append(text_of(message.get("content")).strip())
    joined = "; ".join(reversed(results))[:LONGEST_TEXT]
    return Question(last_asked(messages), (), False).tell(f"The tool says: {joined}", f"工具返回：{joined}")


def _after_colon(question: Question, english: str, chinese: str) -> str | None:
    """Return the text that a command such as "summarise: …" or "总结：…" is about, if this is that command."""
    match = re.match(rf"(?is)\s*(?:please\s+)?(?:{english})\b[^:\n]{{0,60}}?(?::|\n)\s*(.+)", question.text)
    match = match or re.match(
        rf"(?s)\s*请?(?:帮我)?(?:用不超过\s*\d+\s*句话)?(?:{chinese})[^：:\n]{{0,20}}?[：:\n]\s*(.+)", question.text
    )
    return match[1].strip() if match else None


def _sum(question: Question) -> str | None:
    found = calculate(question.text) if len(question.text) <= LONGEST_COMMAND else None
    return None if found is None else f"{found[0]} = {found[1]}"


def _echo(question: Question) -> str | None:
    text = _after_colon(question, "echo|repeat(?: after me)?", "重复|复述|跟我说")
    if text is None and len(question.text) <= LONGEST_COMMAND and (match := _SAY.fullmatch(question.text)):
        text = match[1]
    return text


def _upper(question: Question) -> str | None:
    text = _after_colon(question, "upper ?case|capitali[sz]e|shout", "大写|转成大写|转换成大写")
    return text.upper() if text is not None else None


def _lower(question: Question) -> str | None:
    text = _after_colon(question, "lower ?case", "小写|转成小写|转换成小写")
    return text.lower() if text is not None else None


def _reverse(question: Question) -> str | None:
    text = _after_colon(question, "reverse", "倒过来|反转|倒序")
    return text[::-1] if text is not None else None


def _measure(question: Question) -> str | None:
    things = "(?:words|letters|characters)"
    english = rf"count the {things}|how many {things}|word ?count"
    text = _after_colon(question, english, "数一数|统计字数|多少字|有多少")
    if text is None:
        return None
    words, characters, lines = len(text.split()), len(text), text.count("\n") + 1
    return question.tell(
        f"{words} words, {characters} characters, {lines} lines.", f"{characters} 个字符，{words} 个词，{lines} 行。"
    )


def _count_up(question: Question) -> str | None:
    match = _COUNT.search(question.text)
    if match is None:
        return None
    first, last = int(match[1] or match[3] or 1), int(match[2] or match[4])
    if not first <= last < first + LARGEST_COUNT:
        return question.tell(
            f"I count up, at most {LARGEST_COUNT} numbers at a time.",
            f"我只能从小数到大，一次最多 {LARGEST_COUNT} 个数。",
        )
    return ", ".join(map(str, range(first, last + 1))) + "."


def _reply(question: Question) -> str | None:
    """Draft an answer to a message in tags, as the feature `reply` asks for it."""
    match = _MESSAGE.search(question.text)
    if match is None:
        return None
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(match[1]) if sentence.strip()]
    asked = [sentence for sentence in sentences if sentence.endswith(("?", "？"))]
    about = (asked or sentences or [match[1]])[-1]
    if _CJK.search(match[1]):
        return f"您好，谢谢您的来信。\n\n您提到：“{about}”我今天就去落实，明天给您一个准确的答复。\n\n此致\n敬礼"
    return (
        f"Thank you for your message.\n\nYou write: “{about}” I will look into it today and have an answer for you by "
        "tomorrow.\n\nKind regards"
    )


def _summary(question: Question) -> str | None:
    text = _after_colon(question, "summari[sz]e|summary|tl;?dr|sum up", "总结|概括|摘要|归纳")
    if text is None:
        return None
    text = _TAGS.sub("", text).strip()
    asked = _AT_MOST.match(question.text)
    most = max(1, int(asked[1] or asked[2])) if asked else 3
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(text) if sentence.strip()]
    if len(sentences) <= min(most, 2):
        return text
    weight = Counter(word.lower() for word in _WORD.findall(text))

    def importance(place: int) -> float:
        words = _WORD.findall(sentences[place])
        return sum(weight[word.lower()] for word in words) / (len(words) + 3) if words else 0.0

    keep = max(1, min(most, len(sentences) // 3))
    best = sorted(sorted(range(len(sentences)), key=importance, reverse=True)[:keep])
    return ("" if question.chinese else " ").join(sentences[place] for place in best)


def _memory(question: Question) -> str | None:
    if re.search(r"(?i)what(?:'s| is) my name|who am i\b|我叫什么|我是谁", question.text):
        match = next(filter(None, map(_NAME.search, reversed(question.earlier))), None)
        if match is None:
            return question.tell("You have not told me your name.", "你还没告诉我你的名字。")
        return question.tell(f"Your name is {match[1] or match[2]}.", f"你叫{match[1] or match[2]}。")
    if question.earlier and re.search(r"(?i)what did i (?:just )?(?:say|ask)|我刚才(?:说|问)了什么", question.text):
        return question.tell(f"You said: {question.earlier[-1]}", f"你说的是：{question.earlier[-1]}")
    if match := _NAME.search(question.text):
        name = match[1] or match[2]
        return question.tell(
            f"Nice to meet you, {name}. I will remember it for this conversation.",
            f"很高兴认识你，{name}。这次对话里我会记得。",
        )
    return None


def _verse(question: Question) -> str | None:
    if not re.search(r"(?i)\b(?:poem|haiku|verse|rhyme)\b|诗|俳句", question.text):
        return None
    return question.tell(
        "A token drips by,\nheld, then counted, then let go:\nevery sum is zero.",
        "一滴一词水自流，\n先留后算不多收。\n账平分毫皆有数，\n一夜清风到小楼。",
    )


def _topic(question: Question) -> str | None:
    text = question.text[:LONGEST_COMMAND].lower()

    def matches(topic: Topic) -> int:
        return sum(
            len(keyword)
            for keyword in topic.keywords
            if (keyword in text if _CJK.search(keyword) else re.search(rf"\b{re.escape(keyword)}\b", text))
        )

    best = max((SELF, *TOPICS), key=matches)
    if not matches(best):
        if len(text) > 60:
            return None
        best = max((GREETING, THANKS), key=matches)
        if not matches(best):
            return None
    short, more = best.chinese if question.chinese else best.english
    return f"{short}{'' if question.chinese else ' '}{more}" if question.detailed else short


def _fallback(question: Question) -> str:
    if not question.text:
        return "Ask me something: what a call costs, who gets paid, a sum, a summary."
    heard = " ".join(question.text.split())
    heard = heard if len(heard) <= 160 else heard[:159] + "…"
    return question.tell(
        f"You wrote: “{heard}”. I am the demo provider, so I know few things, but those well: what ModelFaucet is, "
        "what a call costs and who gets paid; sums (12 * 34.5), “summarise: …”, “uppercase: …”, “count to 30”.",
        f"你写的是：“{heard}”。我是演示用的模型，懂得不多但都可靠：ModelFaucet 是什么、一次调用花多少钱、钱分给谁；"
        "还会算数（12 * 34.5）、“总结：……”、“大写：……”、“从 1 数到 30”。",
    )


_SKILLS: tuple[Callable[[Question], str | None], ...] = (
    *(_reply, _summary, _upper, _lower, _reverse, _echo, _measure, _count_up, _sum, _memory, _verse, _topic),
)
