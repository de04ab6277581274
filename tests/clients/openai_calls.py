"""What an app does with the `openai` client, run by an interpreter that knows nothing of ours.

Reads one JSON object a line from standard input: {"call", "base_url", "api_key", …}; answers each with
{"result"} or {"error": {"class", "status", "code", "request_id"}} on standard output. Only `base_url` and the key
are not as its documentation has them.
"""

import asyncio
import json
import sys
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

MODEL = "faucet-demo"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answer(client: OpenAI, *, text: str, model: str = MODEL, **more: Any) -> Any:
    completion = client.chat.completions.create(model=model, messages=said(text), **more)
    return completion.model_dump() | {"_request_id": completion._request_id}


def stream(client: OpenAI, *, text: str, model: str = MODEL, **more: Any) -> Any:
    with client.chat.completions.create(model=model, messages=said(text), stream=True, **more) as chunks:
        return [chunk.model_dump() for chunk in chunks]


def stream_helper(client: OpenAI, *, text: str) -> Any:
    with client.chat.completions.stream(model=MODEL, messages=said(text)) as events:
        kinds = [event.type for event in events]
        return {"kinds": kinds, "content": events.get_final_completion().choices[0].message.content}


def tool_call(client: OpenAI, *, text: str) -> Any:
    completion = client.chat.completions.create(model=MODEL, messages=said(text), tools=[WEATHER])
    message = completion.choices[0].message
    [call] = message.tool_calls
    rest = [message, {"role": "tool", "tool_call_id": call.id, "content": "12 degrees, rain"}]
    after = client.chat.completions.create(model=MODEL, messages=[*said(text), *rest], tools=[WEATHER])
    return {
        "finish_reason": completion.choices[0].finish_reason,
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "after": after.choices[0].message.content,
    }


def streamed_tool_call(client: OpenAI, *, text: str) -> Any:
    name, arguments, finish = "", "", None
    for chunk in client.chat.completions.create(model=MODEL, messages=said(text), tools=[WEATHER], stream=True):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    return {"finish_reason": finish, "name": name, "arguments": json.loads(arguments)}


def raw_response(client: OpenAI, *, text: str) -> Any:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=said(text))
    return {"headers": dict(raw.headers), "content": raw.parse().choices[0].message.content}


def list_models(client: OpenAI) -> Any:
    return [model.id for model in client.models.list()]


def retrieve_model(client: OpenAI, *, model: str) -> Any:
    return client.models.retrieve(model).model_dump()


def asynchronous(client: OpenAI, *, texts: list[str]) -> Any:
    async def ask(asking: AsyncOpenAI, text: str) -> str:
        parts = []
        async for chunk in await asking.chat.completions.create(model=MODEL, messages=said(text), stream=True):
            parts += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(parts)

    async def ask_all() -> list[str]:
        async with AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as asking:
            return await asyncio.gather(*(ask(asking, text) for text in texts))

    return asyncio.run(ask_all())


def leave_stream(client: OpenAI, *, text: str, model: str, chunks: int, **more: Any) -> Any:
    parts = []
    with client.chat.completions.create(model=model, messages=said(text), stream=True, **more) as answer:
        for chunk in answer:
            parts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            if len(parts) >= chunks:
                break
    return parts


CALLS = {
    "answer": answer,
    "stream": stream,
    "stream_helper": stream_helper,
    "tool_call": tool_call,
    "streamed_tool_call": streamed_tool_call,
    "raw_response": raw_response,
    "list_models": list_models,
    "retrieve_model": retrieve_model,
    "asynchronous": asynchronous,
    "leave_stream": leave_stream,
}


def main() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        options = {name: wanted.pop(name) for name in ("base_url", "api_key", "max_retries") if name in wanted}
        reply: dict[str, Any]
        try:
            with OpenAI(timeout=30, **options) as client:
                reply = {"result": CALLS[wanted.pop("call")](client, **wanted)}
        except openai.APIError as error:
            reply = {"error": {"class": type(error).__name__, "message": str(error), "code": error.code}}
            if isinstance(error, openai.APIStatusError):
                reply["error"] |= {"status": error.status_code, "request_id": error.request_id, "body": error.body}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
