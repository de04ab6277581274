"""The error envelope of the JSON resources: the same as the model endpoints'."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import BadRequest, FaucetError, Forbidden, NotFound, RateLimited, Unauthorized, Unavailable
from apps.core.ids import new_id
from apps.gateway.app import MethodNotAllowed

logger = logging.getLogger(__name__)

# Seconds after which a client may try again when the database was out of reach.
DATABASE_RETRY = 5


class UnsupportedMediaType(FaucetError):
    status, type, default_code = 415, "invalid_request_error", "unsupported_media_type"


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Answer every exception of a view in OpenAI's envelope; one that nobody anticipated is logged and is a 500."""
    view = context.get("view")
    request_id = getattr(view, "request_id", None) or new_id("req")
    error = as_faucet_error(exc)
    if error is None:
        logger.error("API view failed", extra={"request_id": request_id}, exc_info=exc)
        error = FaucetError("Something went wrong on our side.", code="internal_error")
    elif isinstance(error, Unavailable):
        logger.warning("API view unavailable", extra={"request_id": request_id, "error": type(exc).__name__})
    response = Response(error.envelope(request_id), status=error.status)
    if error.retry_after is not None:
        response["retry-after"] = str(error.retry_after)
    if error.status == 401:
        response["www-authenticate"] = 'Bearer realm="modelfaucet"'
    if error.status == 405 and view is not None:
        response["allow"] = ", ".join(view.allowed_methods)
    return response


def as_faucet_error(exc: Exception) -> FaucetError | None:
    """Return the anticipated failure that an exception stands for, or None."""
    if isinstance(exc, FaucetError):
        return exc
    if isinstance(exc, OperationalError | InterfaceError):
        return Unavailable("Our database is out of reach; try again.", retry_after=DATABASE_RETRY)
    if isinstance(exc, Http404 | exceptions.NotFound):
        return NotFound("There is nothing here.")
    if isinstance(exc, PermissionDenied | exceptions.PermissionDenied):
        return Forbidden("This is not allowed.")
    if isinstance(exc, SuspiciousOperation | UnreadablePostError):
        return BadRequest("The request cannot be read.")
    return _of_rest_framework(exc) if isinstance(exc, exceptions.APIException) else None


def _of_rest_framework(exc: exceptions.APIException) -> FaucetError | None:
    if isinstance(exc, exceptions.MethodNotAllowed):
        return MethodNotAllowed(str(exc.detail))
    if isinstance(exc, exceptions.UnsupportedMediaType):
        return UnsupportedMediaType(str(exc.detail))
    if isinstance(exc, exceptions.ParseError):
        return BadRequest(str(exc.detail), code="invalid_json")
    if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return Unauthorized(str(exc.detail))
    if isinstance(exc, exceptions.Throttled):
        return RateLimited(str(exc.detail), retry_after=max(int(getattr(exc, "wait", None) or 0), 1))
    return BadRequest(str(exc.detail)) if 400 <= exc.status_code < 500 else None
