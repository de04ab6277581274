"""Sums found in a sentence, worked out exactly. Pure."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_EXPRESSION = re.compile(rf"[(\s+-]*{_NUMBER}(?:[\s)]*(?:\*\*|[-+*/×÷·^x])[\s(+-]*{_NUMBER})+[\s)]*")
_PERCENT = re.compile(rf"({_NUMBER})\s*(?:%|percent)\s*(?:of|的)?\s*({_NUMBER})|({_NUMBER})\s*的\s*({_NUMBER})\s*%")
_ASKED = re.compile(r"(?i)\b(?:what(?:'s| is)|calc\w*|compute|how much is|evaluate|work out)\b|算|等于|多少|=")
_PLAIN = re.compile(r"[+*×÷^]|\s[-/x·]\s")  # unlike a date or a telephone number
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LARGEST = 10**40
_PLACES = 10


def calculate(text: str) -> tuple[str, str] | None:
    """Return the sum that `text` asks for, as written and worked out; None if it asks for none.

    A division that does not end is rounded to ten places.
    """
    if match := _PERCENT.search(text):
        part, whole = (match[1], match[2]) if match[1] else (match[4], match[3])
        return match[0].strip(), _show(_number(part) * _number(whole) / 100)
    match = max(_EXPRESSION.finditer(text), key=lambda found: len(found[0]), default=None)
    if match is None:
        return None
    written = match[0].strip()
    if not (
        _ASKED.search(text) or written == text.strip() or (_PLAIN.search(written) and 2 * len(written) > len(text))
    ):
        return None
    source = written.replace(",", "").replace("×", "*").replace("·", "*").replace("x", "*").replace("÷", "/")
    try:
        value = _evaluate(ast.parse(source.replace("^", "**"), mode="eval").body)
    except ZeroDivisionError:
        return written, "undefined (division by zero)"
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return written, _show(value)


def _number(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _evaluate(node: ast.expr) -> Fraction:
    """Return the value of an arithmetic expression. Raises ValueError for anything else, and for huge values."""
    match node:
        case ast.Constant(value=int() | float() as number):
            value = Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            value = _evaluate(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent = _evaluate(left), _evaluate(right)
            if exponent.denominator != 1 or abs(exponent) > 128 or abs(base) > 10**6:
                raise ValueError("too large")
            value = base ** int(exponent)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATORS:
            value = _OPERATORS[type(operation)](_evaluate(left), _evaluate(right))
        case _:
            raise ValueError("not arithmetic")
    if abs(value) > _LARGEST or value.denominator > _LARGEST:
        raise ValueError("too large")
    return value


def _show(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(value * 10**_PLACES)
    exact = Fraction(scaled, 10**_PLACES) == value
    digits = f"{abs(scaled):0{_PLACES + 1}d}"
    shown = f"{'-' if value < 0 else ''}{digits[:-_PLACES]}.{digits[-_PLACES:]}".rstrip("0").rstrip(".")
    return shown if exact else f"{shown} (rounded)"
