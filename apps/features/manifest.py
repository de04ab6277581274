"""A feature's manifest: how its calls are routed, guarded, cached, limited, priced and, for typed features, asked.

Frozen structs that refuse names that are not known, values out of range and wrong types; `manifest_source.py` reads
what developers write. Money is a decimal string in USD. Every member has a default, and `Manifest()` is a feature
without a manifest.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from apps.core.money import nano_from_usd

PolicyName = Literal[
    "platform_pool",
    "developer_key_first",
    "byok_first",
    "local_first",
    "cheapest_sufficient",
    "quality_first",
    "latency_first",
    "privacy_first",
]
TaskClassName = Literal["summary", "classification", "code", "reasoning", "long_context", "question", "writing"]
CapabilityName = Literal["chat", "stream", "tools", "vision", "audio", "json", "reasoning", "embeddings"]
DetectorName = Literal["email", "phone", "card", "iban", "chinese_id", "ip", "address", "key"]
AssuranceName = Literal["user_token", "app_secret", "anonymous", "virtual_key"]

POLICIES: tuple[PolicyName, ...] = PolicyName.__args__  # type: ignore[attr-defined]
TASK_CLASSES: tuple[TaskClassName, ...] = TaskClassName.__args__  # type: ignore[attr-defined]
CAPABILITIES: tuple[CapabilityName, ...] = CapabilityName.__args__  # type: ignore[attr-defined]
DETECTORS: tuple[DetectorName, ...] = DetectorName.__args__  # type: ignore[attr-defined]

# The embedding that needs no model: built in, free and coarse.
HASHED_NGRAMS = "hashed-ngrams"

ModelName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^\S+$")]
Usd = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$", description="USD as a decimal string.")]
BasisPoints = Annotated[int, Meta(ge=0, le=10_000)]
Hour = Annotated[int, Meta(ge=0, le=23)]
Chars = Annotated[int, Meta(ge=0, le=100_000_000)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Text = Annotated[str, Meta(max_length=20_000)]
FieldPath = Annotated[str, Meta(min_length=1, max_length=200)]
Models = Annotated[tuple[ModelName, ...], Meta(max_length=20)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every part of a manifest has in common: immutable, and no member that is not known."""


class When(_Part, frozen=True):
    """The conditions of a rule; those that are named must all hold, and none named always holds.

    `min_chars` and `max_chars` bound the prompt's length in characters. `hour_from` (inclusive) and `hour_to`
    (exclusive) are hours of the day in UTC and may wrap around midnight.
    """

    task_class: TaskClassName | None = None
    min_chars: Chars | None = None
    max_chars: Chars | None = None
    assurance: AssuranceName | None = None
    stream: bool | None = None
    hour_from: Hour | None = None
    hour_to: Hour | None = None

    def matches(self, *, task_class: str | None, chars: int, assurance: str, stream: bool, hour: int) -> bool:
        """Tell whether a request meets every condition."""
        return (
            self.task_class in (None, task_class)
            and (self.min_chars is None or chars >= self.min_chars)
            and (self.max_chars is None or chars <= self.max_chars)
            and self.assurance in (None, assurance)
            and self.stream in (None, stream)
            and self._in_hours(hour)
        )

    def _in_hours(self, hour: int) -> bool:
        begin, end = self.hour_from or 0, 24 if self.hour_to is None else self.hour_to
        return begin <= hour < end if begin < end else hour >= begin or hour < end


class Rule(_Part, frozen=True):
    """Models and, or, a policy to use where the conditions hold. Rules are tried in order; the first that holds is
    used."""

    when: When = When()
    use: Models = ()
    policy: PolicyName | None = None


class Routing(_Part, frozen=True):
    """Which route a call takes.

    `min_quality` goes from 0 to 1. `max_price_usd` is the most that one call may cost its payer. `require` names
    capabilities that a model must have. `models_for` maps task classes to the models of `model: "auto"`.
    """

    policy: PolicyName = "platform_pool"
    fallback_models: Models = ()
    degraded_model: ModelName | None = None
    rules: Annotated[tuple[Rule, ...], Meta(max_length=50)] = ()
    min_quality: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_price_usd: Usd | None = None
    require: tuple[CapabilityName, ...] = ()
    platform_fallback: bool = True
    models_for: dict[TaskClassName, ModelName] = {}

    @property
    def max_price(self) -> int | None:
        """Return the price ceiling of one call in nano-USD, or None."""
        return None if self.max_price_usd is None else nano_from_usd(self.max_price_usd)


class Privacy(_Part, frozen=True):
    """What may leave for a provider, and what is kept of it.

    No `detectors` stands for all of them. `fallback` is what happens where redaction cannot be done.
    """

    mode: Literal["allow", "redact_before_cloud", "local_only"] = "allow"
    fallback: Literal["refuse", "local_only"] = "refuse"
    sensitive_fields: Annotated[tuple[FieldPath, ...], Meta(max_length=100)] = ()
    detectors: tuple[DetectorName, ...] = ()
    prompt_hash: bool = False
    redacted_prompt: bool = False
    debug_log: bool = False
    retention_days: Annotated[int, Meta(ge=1, le=365)] = 7


class Cache(_Part, frozen=True):
    """Whether answers are kept for equal (`exact`) or similar (`semantic`) requests, and what a hit costs.

    `hit_price_bps` is the part of the price that a hit costs, in basis points; `threshold` the least similarity.
    `embedding_model` is an offered one or HASHED_NGRAMS; None stands for the operator's choice.
    """

    exact: bool = False
    ttl_seconds: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 3600
    hit_price_bps: BasisPoints = 0
    semantic: bool = False
    threshold: Annotated[float, Meta(ge=0.5, le=1)] = 0.92
    embedding_model: ModelName | None = None

    @property
    def on(self) -> bool:
        """Tell whether anything is kept at all."""
        return self.exact or self.semantic


class FeatureLimits(_Part, frozen=True):
    """Limits of each end user of the feature: requests and tokens per minute, and calls at once."""

    rpm: Rate | None = None
    tpm: Rate | None = None
    concurrency: Rate | None = None


class ModelChoice(_Part, frozen=True):
    """The models a call may name (empty: any) and the one it gets when it names none. None leaves the feature's."""

    allow: Annotated[tuple[ModelName, ...], Meta(max_length=200)] | None = None
    default: ModelName | None = None


class Output(_Part, frozen=True):
    """How long an answer may be, and what a typed feature answers with.

    `clamp` shortens an answer to what the balance affords; `schema` is the JSON Schema of a `json` answer.
    """

    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    clamp: bool | None = None
    kind: Literal["text", "json"] = "text"
    schema: dict[str, Any] | None = None


class Example(_Part, frozen=True):
    """One turn shown to the model before the real one; both are taken as they stand."""

    user: Text
    assistant: Text


class Prompt(_Part, frozen=True):
    """Templates of a typed feature: `{{ input.name }}` is replaced by the caller's input on our side."""

    user: Annotated[str, Meta(min_length=1, max_length=20_000)]
    system: Text = ""
    examples: Annotated[tuple[Example, ...], Meta(max_length=20)] = ()


class Pricing(_Part, frozen=True):
    """The feature's own pricing terms, per request. See the pricing terms of the features room."""

    platform_pricing: Literal["markup", "fixed"] = "markup"
    markup_bps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    fixed_price_usd: Usd = "0"
    developer_pricing: Literal["fee_only", "markup_share", "own_price"] = "fee_only"
    own_price_usd: Usd = "0"
    gateway_fee_usd: Usd = "0"
    byok_fee_usd: Usd = "0"
    local_fee_usd: Usd = "0"
    share_bps: BasisPoints = 0


class Manifest(_Part, frozen=True):
    """Everything a feature's developer says about its calls."""

    version: Literal[1] = 1
    description: Annotated[str, Meta(max_length=2_000)] = ""
    models: ModelChoice = ModelChoice()
    routing: Routing = Routing()
    privacy: Privacy = Privacy()
    cache: Cache = Cache()
    limits: FeatureLimits = FeatureLimits()
    output: Output = Output()
    pricing: Pricing | None = None
    input: dict[str, Any] | None = None
    prompt: Prompt | None = None


NO_MANIFEST = Manifest()
_decode = msgspec.json.Decoder(Manifest).decode


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest, for editors and the documentation."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ModelFaucet feature manifest",
        **msgspec.json.schema(Manifest),
    }


def decode(stored: str | bytes) -> Manifest:
    """Return a manifest from its stored JSON. Raises msgspec.ValidationError for what `parse` never let in."""
    return _decode(stored)


def encode(manifest: Manifest) -> str:
    """Return a manifest as the JSON to store, without members that have their defaults."""
    return msgspec.json.encode(manifest).decode()
