"""OpenAI's Responses, without what it would store: every request brings its whole conversation."""

from apps.gateway.formats.responses.format import RESPONSES, ResponsesFormat

__all__ = ["RESPONSES", "ResponsesFormat"]
