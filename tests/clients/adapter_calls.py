"""What an app does with the clients of OpenAI and Anthropic: an answer, a stream, and a tool's round trip.

    python adapter_calls.py BASE_URL TOKEN API

API is chat, responses or messages. Prints one JSON object. Only where the server stands and the key are not as the
clients' documentation has them.
"""

import json
import sys
from typing import Any

import anthropic
import openai

MODEL = "test-model"
QUESTION = "How is the weather in Paris?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
RESULT = "21 degrees"


def chat(client: openai.OpenAI) -> dict[str, Any]:
    said: Any = [{"role": "user", "content": QUESTION}]
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    create = client.chat.completions.create
    answer = create(model=MODEL, messages=said)
    text, usage = "", None
    stream = create(model=MODEL, messages=said, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    with client.chat.completions.stream(model=MODEL, messages=said, tools=tools) as events:
        message = events.get_final_completion().choices[0].message
    [call] = message.tool_calls or []
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    after = create(model=MODEL, messages=[*said, message, result], tools=tools)
    return {
        "answer": answer.choices[0].message.content,
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "stream": text,
        "stream_usage": [usage.prompt_tokens, usage.completion_tokens],
        "tool": [call.function.name, json.loads(call.function.arguments)],
        "after": after.choices[0].message.content,
    }


def responses(client: openai.OpenAI) -> dict[str, Any]:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    answer = client.responses.create(model=MODEL, input=QUESTION, instructions="Be brief.")
    text, usage = "", None
    for event in client.responses.create(model=MODEL, input=QUESTION, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.completed":
            usage = event.response.usage
    asked: Any = [{"role": "user", "content": QUESTION}]
    kept: Any = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}, "store": False}
    with client.responses.stream(model=MODEL, input=asked, tools=tools, **kept) as events:
        final = events.get_final_response()
    [call] = [item for item in final.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in final.output]
    after = client.responses.create(model=MODEL, input=[*asked, *items, result], tools=tools, **kept)
    return {
        "answer": answer.output_text,
        "usage": [answer.usage.input_tokens, answer.usage.output_tokens],
        "stream": text,
        "stream_usage": [usage.input_tokens, usage.output_tokens],
        "tool": [call.name, json.loads(call.arguments)],
        "reasoning": [part.text for item in final.output if item.type == "reasoning" for part in item.summary],
        "after": after.output_text,
    }


def messages(client: anthropic.Anthropic) -> dict[str, Any]:
    said: Any = [{"role": "user", "content": QUESTION}]
    tools: Any = [{"name": "get_weather", "input_schema": SCHEMA}]
    asked: Any = {"model": MODEL, "max_tokens": 3000}
    counted = client.messages.count_tokens(model=MODEL, messages=said)
    answer = client.messages.create(messages=said, system="Be brief.", **asked)
    with client.messages.stream(messages=said, **asked) as stream:
        text = "".join(stream.text_stream)
        usage = stream.get_final_message().usage
    asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(messages=said, tools=tools, **asked) as stream:
        message = stream.get_final_message()
    [call] = [block for block in message.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    turns = [*said, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    after = client.messages.create(messages=turns, tools=tools, **asked)
    return {
        "answer": "".join(block.text for block in answer.content if block.type == "text"),
        "usage": [answer.usage.input_tokens, answer.usage.output_tokens],
        "stream": text,
        "stream_usage": [usage.input_tokens, usage.output_tokens],
        "tool": [call.name, call.input],
        "stop_reason": message.stop_reason,
        "reasoning": [block.thinking for block in message.content if block.type == "thinking"],
        "after": "".join(block.text for block in after.content if block.type == "text"),
        "counted": counted.input_tokens,
    }


def main() -> None:
    base_url, token, api = sys.argv[1:]
    if api == "messages":
        with anthropic.Anthropic(base_url=base_url, api_key=token, max_retries=0, timeout=30) as theirs:
            result = messages(theirs)
    else:
        with openai.OpenAI(base_url=f"{base_url}/v1", api_key=token, max_retries=0, timeout=30) as client:
            result = {"chat": chat, "responses": responses}[api](client)
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
