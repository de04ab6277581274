"""What the fake answers when it does not do what was asked: errors in Stripe's shapes."""

from typing import Any


class Fault(Exception):
    """An error answer of Stripe: its HTTP status and the members of its `error` object."""

    def __init__(self, status: int, message: str, *, type: str = "invalid_request_error", **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": type, "message": message, **{k: v for k, v in members.items() if v is not None}}


def missing(kind: str, object_id: str, param: str = "id") -> Fault:
    return Fault(404, f"No such {kind}: '{object_id}'", code="resource_missing", param=param)


def invalid(message: str, *, code: str | None = None, param: str | None = None) -> Fault:
    return Fault(400, message, code=code, param=param)


def required(param: str) -> Fault:
    return invalid(f"Missing required param: {param}.", code="parameter_missing", param=param)
