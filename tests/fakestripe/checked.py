"""Parameters as the installed library's own types have them: an unknown one is refused, as Stripe does."""

import importlib
import re
import sys
import types
import typing
from functools import lru_cache
from typing import Any

import typing_extensions

from tests.fakestripe.faults import Fault, invalid

# Where a parameters class is not named by the rule below.
NAMED = {
    ("DELETE", "/v1/subscriptions/{id}"): "SubscriptionCancelParams",
    ("GET", "/v1/account"): "AccountRetrieveParams",
    ("GET", "/v1/balance"): "BalanceRetrieveParams",
    ("POST", "/v1/invoices/{id}/void"): "InvoiceVoidInvoiceParams",
    ("POST", "/v1/tax/transactions/create_from_calculation"): "tax.TransactionCreateFromCalculationParams",
}
ACTIONS = {"attach", "cancel", "close", "confirm", "detach", "expire", "pay"}
SPACES = ("checkout", "tax", "billing_portal")
MOST_METADATA, MOST_KEY, MOST_VALUE = 50, 40, 500


def params_class(method: str, template: str) -> Any:
    """Return the library's type of a call's parameters."""
    name = NAMED.get((method, template)) or _name_of(method, template)
    space, _, name = name.rpartition(".")
    module = importlib.import_module(f"stripe.params.{space}" if space else "stripe.params")
    return getattr(module, name)


def _name_of(method: str, template: str) -> str:
    parts = template.removeprefix("/v1/").split("/")
    space = f"{parts.pop(0)}." if parts[0] in SPACES else ""
    name, of_one = "", False
    for part in parts:
        if part == "{id}":
            of_one = True
        elif part in ACTIONS:
            return f"{space}{name}{part.title()}Params"
        else:
            name += "".join(word.title() for word in _one_of(part).split("_"))
            of_one = False
    verb = {"GET": "Retrieve" if of_one else "List", "POST": "Update" if of_one else "Create", "DELETE": "Delete"}[
        method
    ]
    return f"{space}{name}{verb}Params"


def _one_of(plural: str) -> str:
    return re.sub(r"ies$", "y", plural) if plural.endswith("ies") else plural.removesuffix("s")


@lru_cache(maxsize=512)
def hints_of(kind: Any) -> dict[str, Any]:
    module = vars(sys.modules[kind.__module__])
    return typing.get_type_hints(kind, globalns={**vars(typing), **module, "StripeContext": object})


def typed(params: dict[str, Any], method: str, template: str) -> dict[str, Any]:
    """Return the parameters of a form with the types that the call takes. Raises what Stripe would answer."""
    return typing.cast("dict[str, Any]", _value(params, params_class(method, template), ""))


def _value(value: Any, hint: Any, path: str) -> Any:
    kinds = _kinds(hint)
    if isinstance(value, dict):
        table = next((kind for kind in kinds if typing_extensions.is_typeddict(kind)), None)
        if value and all(key.isdigit() for key in value):
            of_list = next((kind for kind in kinds if typing.get_origin(kind) in (list, typing.Sequence)), None)
            if of_list is not None:
                rows = [value[key] for key in sorted(value, key=int)]
                return [_value(row, typing.get_args(of_list)[0], f"{path}[{n}]") for n, row in enumerate(rows)]
        if table is not None:
            return _members(value, table, path)
        if any(typing.get_origin(kind) is dict for kind in kinds):
            return _metadata(value, path)
        raise invalid(f"Invalid object for {path}", code="parameter_unknown", param=path)
    return _plain(value, kinds, path)


def _members(value: dict[str, Any], table: Any, path: str) -> dict[str, Any]:
    hints = hints_of(table)
    typed_members = {}
    for name, member in value.items():
        inner = f"{path}[{name}]" if path else name
        if name not in hints:
            raise Fault(400, f"Received unknown parameter: {inner}", code="parameter_unknown", param=inner)
        typed_members[name] = _value(member, hints[name], inner)
    return typed_members


def _metadata(value: dict[str, Any], path: str) -> dict[str, str]:
    if len(value) > MOST_METADATA:
        raise invalid(f"There are more than {MOST_METADATA} keys in {path}.", param=path)
    for key, text in value.items():
        if not isinstance(text, str) or len(key) > MOST_KEY or len(text) > MOST_VALUE:
            raise invalid(f"Metadata values can have up to {MOST_VALUE} characters, keys {MOST_KEY}.", param=path)
    return value


def _plain(value: str, kinds: list[Any], path: str) -> Any:
    words = [word for kind in kinds if typing.get_origin(kind) is typing.Literal for word in typing.get_args(kind)]
    if value == "" and "" in words:
        return ""
    if value == "" and not any(kind is str for kind in kinds):
        raise invalid(f"You passed an empty string for '{path}'.", code="parameter_invalid_empty", param=path)
    if bool in kinds and value in ("true", "false"):
        return value == "true"
    if int in kinds and re.fullmatch(r"-?\d{1,15}", value):
        return int(value)
    if words and words != [""]:
        if value not in words:
            raise invalid(f"Invalid {path}: must be one of {', '.join(map(str, words))}", param=path)
        return value
    if str in kinds or any(getattr(kind, "__name__", "") == "Decimal" for kind in kinds):
        return value
    if int in kinds:
        raise invalid(f"Invalid integer: {value}", code="parameter_invalid_integer", param=path)
    raise invalid(f"Invalid {path}: {value}", param=path)


def _kinds(hint: Any) -> list[Any]:
    """Return the alternatives of a hint, those within unions too."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        return _kinds(typing.get_args(hint)[0])
    return [hint]
