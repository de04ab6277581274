"""The words of the demo page that are not in its templates: what its scripts say, prompts, the list of endpoints."""

from dataclasses import dataclass

from django.utils.translation import gettext as _


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A line of the API's list."""

    method: str
    path: str
    purpose: str


def endpoints() -> tuple[Endpoint, ...]:
    """Return what the API offers, in the order in which a newcomer needs it."""
    return (
        Endpoint("POST", "/v1/sessions", _("Open a session for an end user of your app")),
        Endpoint("POST", "/v1/chat/completions", _("OpenAI's chat completions, as JSON or as a stream")),
        Endpoint("POST", "/v1/responses", _("OpenAI's responses, for its newer clients")),
        Endpoint("POST", "/v1/messages", _("Anthropic's messages, for its clients")),
        Endpoint("POST", "/v1/embeddings", _("Vectors of texts")),
        Endpoint("POST", "/v1/features/{key}", _("A typed feature: data in, data out, the prompt is the manifest's")),
        Endpoint("POST", "/v1/estimate", _("The most that a call can cost, before it is made")),
        Endpoint("GET", "/v1/models", _("Models this token may call, with their prices")),
        Endpoint("GET", "/v1/receipts/{id}", _("Receipt of a call: route, tokens, rates, price")),
        Endpoint("GET", "/v1/user/wallet", _("Balance of the end user")),
        Endpoint("GET", "/v1/apps/{id}/usage", _("Calls of an app, for its developer")),
        Endpoint("GET", "/v1/developers/{id}/revenue", _("A developer's revenue, call by call")),
    )


def prompts() -> tuple[str, ...]:
    """Return questions to start with, which the demo provider answers well and a real model too."""
    return (
        _("What does a call cost?"),
        _("Who gets paid for this answer?"),
        _("What happens when the money runs out?"),
        _("Count to 60"),
    )


def strings() -> dict[str, str]:
    """Return what the scripts say, by name; words in braces are filled in there."""
    return {
        # The conversation
        "you": _("You"),
        "answering": _("Answering"),
        "answered": _("Answer complete. It cost {price}."),
        "stopped": _("Stopped"),
        "stopped_note": _("Stopped. The price follows once the model has stopped too."),
        "shortened": _("Shortened to fit your balance"),
        "cut": _("Cut at the output limit"),
        "estimated": _("estimated"),
        "tokens": _("{input} tokens in, {output} out"),
        "copied": _("Copied"),
        "copy_failed": _("Copying failed. Select the text instead."),
        # How a call stands
        "receipt_summary": _("Receipt"),
        "receipt_route": _("Route"),
        "receipt_rejected": _("Not taken"),
        "receipt_policy": _("Policy"),
        "receipt_tokens": _("Usage"),
        "receipt_cached": _("{count} from the cache"),
        "receipt_rates": _("Rates"),
        "receipt_rates_each": _("{input} in, {output} out, per million tokens"),
        "receipt_fixed": _("{amount} per request"),
        "receipt_price": _("Price"),
        "receipt_missing": _("The receipt cannot be shown now."),
        "mode_platform": _("platform’s key"),
        "mode_developer_key": _("developer’s key"),
        "mode_byok": _("your own key"),
        "mode_local": _("local model"),
        "pending": _("on its way to the ledger"),
        "finished": _("on the ledger"),
        "empty": _("empty, free"),
        "error_finish": _("failed, free"),
        "client_left": _("stopped by you"),
        "provider_failed": _("broke off, free"),
        "not_served": _("not served, free"),
        "abandoned": _("given up, free"),
        "sum": _("Total of {count}"),
        # The meter
        "held": _("{amount} held for this answer"),
        "granted": _("{amount} to try it with, given once"),
        "no_answer": _("No answer yet"),
        # When something is wrong
        "offline_title": _("The server cannot be reached"),
        "offline": _("Check your connection, or whether the server still runs. Your message is kept."),
        "broken_title": _("The connection broke off"),
        "broken": _("The answer did not reach its end. The list of calls below tells what it cost."),
        "funds_title": _("Your demo money is used up"),
        "funds": _(
            "This answer could cost up to {price}, and {available} is left. "
            "Nothing was spent: the call was refused before it reached the model."
        ),
        "new_visitor": _("Start as a new visitor"),
        "limit_title": _("One moment, please"),
        "limit": _("Too many requests at once. Try again in {seconds} s."),
        "forbidden_title": _("Switched off"),
        "forbidden": _("The operator has switched this app, model or user off."),
        "failed_title": _("The model could not answer"),
        "failed": _("Nothing was charged. Trying again often helps."),
        "failed_midway": _("The model broke off in the middle of its answer. Nothing was charged."),
        "not_ready_title": _("The demo is not set up"),
        "not_ready": _("This instance has no demo app yet. Start it with “make demo”."),
        "rejected_title": _("The request was refused"),
        "rejected": _("The server said: {message}"),
        "request_id": _("Request {id}"),
        "retry": _("Try again"),
    }
