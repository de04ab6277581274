"""Calls as code to paste, with real addresses and ids: the demo's, without a secret, and a developer's first one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from apps.core.site import site_url

_CURL = """\
# A session for this device: the app's free allowance pays, no key needed.
TOKEN=$(curl -s {base}/sessions \\
  -H 'Content-Type: application/json' \\
  -d '{{"public_app_id": "{app}", "device_id": "my-terminal"}}' \\
  | sed 's/.*"session_token": *"\\([^"]*\\)".*/\\1/')

curl -N {base}/chat/completions \\
  -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "stream": true,
       "messages": [{{"role": "user", "content": "Say hello"}}]}}'
"""

_PYTHON = """\
# pip install openai
import json
from urllib.request import Request, urlopen

from openai import OpenAI

base_url = "{base}"
proof = {{"public_app_id": "{app}", "device_id": "my-laptop"}}
request = Request(
    f"{{base_url}}/sessions",
    json.dumps(proof).encode(),
    {{"Content-Type": "application/json"}},
)
session = json.load(urlopen(request))

client = OpenAI(base_url=base_url, api_key=session["session_token"])
answer = client.chat.completions.with_raw_response.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Say hello"}}],
)
print(answer.parse().choices[0].message.content)
print("price in USD:", answer.headers["x-modelfaucet-price-usd"])
"""

_JAVASCRIPT = """\
// npm install openai
import OpenAI from "openai";

const baseURL = "{base}";
const reply = await fetch(`${{baseURL}}/sessions`, {{
  method: "POST",
  headers: {{ "Content-Type": "application/json" }},
  body: JSON.stringify({{ public_app_id: "{app}", device_id: "my-script" }}),
}});
const {{ session_token: apiKey }} = await reply.json();

const client = new OpenAI({{ baseURL, apiKey }});
const stream = await client.chat.completions.create({{
  model: "{model}",
  stream: true,
  messages: [{{ role: "user", content: "Say hello" }}],
}});
for await (const part of stream) {{
  process.stdout.write(part.choices[0]?.delta?.content ?? "");
}}
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One language's tab."""

    key: str
    name: str
    code: str


def base_url(request: HttpRequest) -> str:
    """Return the address of /v1 under which clients reach this instance."""
    return f"{site_url(request)}/v1"


def snippets(base: str, public_app_id: str, model: str) -> tuple[Snippet, ...]:
    """Return the same call in three languages."""
    sources = (("curl", "curl", _CURL), ("python", "Python", _PYTHON), ("javascript", "JavaScript", _JAVASCRIPT))
    return tuple(
        Snippet(key, name, code.format(base=base, app=public_app_id, model=model)) for key, name, code in sources
    )


_KEY_CHAT = {
    "curl": """\
curl {base}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}",
       "messages": [{{"role": "user", "content": "Say hello"}}]}}'
""",
    "python": """\
# pip install openai
from openai import OpenAI

client = OpenAI(base_url="{base}", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Say hello"}}],
)
print(answer.choices[0].message.content)
""",
    "javascript": """\
// npm install openai
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base}", apiKey: "{key}" }});
const answer = await client.chat.completions.create({{
  model: "{model}",
  messages: [{{ role: "user", content: "Say hello" }}],
}});
console.log(answer.choices[0].message.content);
""",
}

_KEY_FEATURE = {
    "curl": """\
curl {base}/features/{feature} \\
  -H "Authorization: Bearer {key}" \\
  -H 'Content-Type: application/json' \\
  -d '{{"input": {input}}}'
""",
    "python": """\
# pip install openai
from openai import OpenAI

client = OpenAI(base_url="{base}", api_key="{key}")
answer = client.post(
    "/features/{feature}",
    cast_to=object,
    body={{"input": {input}}},
)
print(answer["output"])
""",
    "javascript": """\
// npm install openai
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base}", apiKey: "{key}" }});
const answer = await client.post("/features/{feature}", {{
  body: {{ input: {input} }},
}});
console.log(answer.output);
""",
}

# What a backend does for each of its users: the secret stays there, the user's device gets the session.
_OPEN_SESSION = """\
# On your server. "user-1" is whatever you call the user.
TOKEN=$(curl -s {base}/sessions \\
  -H "Authorization: Bearer {key}" \\
  -H 'Content-Type: application/json' \\
  -d '{{"external_user_id": "user-1", "feature_key": "{feature}"}}' \\
  | sed 's/.*"session_token": *"\\([^"]*\\)".*/\\1/')

# In the app, with the session that your server handed out.
"""
_SESSION_CHAT = """\
curl {base}/chat/completions \\
  -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}",
       "messages": [{{"role": "user", "content": "Say hello"}}]}}'
"""
_SESSION_FEATURE = """\
curl {base}/features/{feature} \\
  -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{{"input": {input}}}'
"""
_NAMES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}


def key_snippets(
    base: str, key: str, *, model: str, feature: str, sample: Mapping[str, Any] | None
) -> tuple[Snippet, ...]:
    """Return a first call with a virtual key in three languages; `sample` is a typed feature's input."""
    sources = _KEY_CHAT if sample is None else _KEY_FEATURE
    values = {"base": base, "key": key, "model": model, "feature": feature, "input": _json(sample)}
    return tuple(Snippet(name, _NAMES[name], source.format(**values)) for name, source in sources.items())


def session_snippets(
    base: str, secret: str, *, model: str, feature: str, sample: Mapping[str, Any] | None
) -> tuple[Snippet, ...]:
    """Return a first call of an end user, with a session that a backend opens with the app's secret."""
    source = _OPEN_SESSION + (_SESSION_CHAT if sample is None else _SESSION_FEATURE)
    values = {"base": base, "key": secret, "model": model, "feature": feature, "input": _json(sample)}
    return (Snippet("session", "curl", source.format(**values)),)


def _json(sample: Mapping[str, Any] | None) -> str:
    # A single quote would end the shell's string; in JSON it may be written so.
    return json.dumps(sample, ensure_ascii=False).replace("'", "\\u0027")


def sample_input(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input that a typed feature takes, from its JSON Schema: what is required, and no more."""
    properties = schema.get("properties")
    named = properties if isinstance(properties, dict) else {}
    return {name: _sample(named.get(name, {}), name) for name in schema.get("required", ())}


def _sample(schema: Any, name: str) -> Any:
    if not isinstance(schema, dict):
        return SAMPLES["text"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if kind == "object":
        return sample_input(schema)
    if kind == "string":
        return SAMPLES.get(name, SAMPLES["text"])[: schema.get("maxLength", 1000)]
    if kind == "array":
        return []
    return {"boolean": True, "null": None}.get(kind, schema.get("minimum", 1))


SAMPLES = {
    "text": "The faucet opens at nine. Ada brings the cake, and it must cost less than 20 dollars.",
    "message": "Dear shop, my order has not arrived. When will it? Ada",
    "language": "French",
}
