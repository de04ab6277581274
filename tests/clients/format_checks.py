"""Reads our answers with the clients of OpenAI and Anthropic, unmodified, run by an interpreter that knows nothing of
ours.

Reads one JSON object a line from standard input: {"format", "stream", "status", "body"}; the client gets `body` as if
a server had sent it, checks it against its types strictly, and what it made of it goes to standard output.
"""

import json
import sys
from typing import Any

import anthropic
import httpx2
import openai
from anthropic.types.shared import ErrorResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

SAID: Any = [{"role": "user", "content": "Hi"}]
EVENTS = TypeAdapter[Any](ResponseStreamEvent)


def transport(given: dict[str, Any]) -> httpx2.Client:
    kind = "text/event-stream" if given["stream"] else "application/json"

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(given["status"], content=given["body"].encode(), headers={"content-type": kind})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def messages(given: dict[str, Any]) -> Any:
    client = anthropic.Anthropic(
        api_key="k",
        base_url="http://test",
        max_retries=0,
        http_client=transport(given),
        _strict_response_validation=True,
    )
    asked: Any = {"model": "m", "max_tokens": 100, "messages": SAID}
    try:
        if not given["stream"]:
            return client.messages.create(**asked).model_dump(mode="json")
        kinds = [event.type for event in client.messages.create(stream=True, **asked)]
        with client.messages.stream(**asked) as stream:
            stream.until_done()
            return {"kinds": kinds, **stream.get_final_message().model_dump(mode="json")}
    except anthropic.APIStatusError as error:
        ErrorResponse.model_validate(error.body)
        return {"error": type(error).__name__, "type": error.type, "body": error.body}


def responses(given: dict[str, Any]) -> Any:
    client = openai.OpenAI(
        api_key="k",
        base_url="http://test",
        max_retries=0,
        http_client=transport(given),
        _strict_response_validation=True,
    )
    asked: Any = {"model": "m", "input": "Hi"}
    if not given["stream"]:
        response = client.responses.create(**asked)
        return response.model_dump(mode="json") | {"output_text": response.output_text}
    kinds = []
    for event in client.responses.create(stream=True, **asked):
        EVENTS.validate_python(event.model_dump(by_alias=True))
        kinds.append(event.type)
    with client.responses.stream(**asked) as stream:
        stream.until_done()
        if kinds[-1] != "response.completed":
            return {"kinds": kinds}
        final = stream.get_final_response()
        return {"kinds": kinds, "output_text": final.output_text, **final.model_dump(mode="json")}


CHECKS = {"messages": messages, "responses": responses}


def main() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        try:
            reply = {"result": CHECKS[given["format"]](given)}
        except Exception as error:
            reply = {"fault": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
