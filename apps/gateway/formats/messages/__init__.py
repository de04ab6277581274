"""Anthropic's Messages, as clients of Anthropic send and read them."""

from apps.gateway.formats.messages.format import MESSAGES, MessagesFormat

__all__ = ["MESSAGES", "MessagesFormat"]
