"""ModelFaucet for Python: language models for your app's users, metered and paid for.

    from modelfaucet_sdk import Faucet

    backend = Faucet("https://ai.example.com", "app_pub_…", app_secret="mf_app_…")
    print(backend.for_user("user-42").chat("Say hello").text)

`AsyncFaucet` is the same with `await`. Errors are listed in `modelfaucet_sdk.errors`.
"""

from modelfaucet_sdk._async.client import AsyncFaucet
from modelfaucet_sdk._async.local import AsyncBridge
from modelfaucet_sdk._async.streams import AsyncStream
from modelfaucet_sdk._sync.client import Faucet
from modelfaucet_sdk._sync.local import Bridge
from modelfaucet_sdk._sync.streams import Stream
from modelfaucet_sdk.calls import Mode, new_key
from modelfaucet_sdk.errors import (
    AuthenticationError,
    BadRequestError,
    BridgeError,
    ConflictError,
    ConnectionFailedError,
    FaucetError,
    InsufficientFundsError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    TimedOutError,
    UnavailableError,
)
from modelfaucet_sdk.reports import make_report
from modelfaucet_sdk.results import (
    ChatResult,
    EmbeddingsResult,
    FeatureResult,
    Record,
    Session,
    StreamPart,
    TextPart,
    ToolCall,
    ToolCallPart,
    Usage,
    UsagePart,
)
from modelfaucet_sdk.user_tokens import sign_user_token
from modelfaucet_sdk.version import VERSION as __version__

__all__ = [
    "AsyncBridge",
    "AsyncFaucet",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "Bridge",
    "BridgeError",
    "ChatResult",
    "ConflictError",
    "ConnectionFailedError",
    "EmbeddingsResult",
    "Faucet",
    "FaucetError",
    "FeatureResult",
    "InsufficientFundsError",
    "Mode",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitedError",
    "Record",
    "Session",
    "Stream",
    "StreamPart",
    "TextPart",
    "TimedOutError",
    "ToolCall",
    "ToolCallPart",
    "UnavailableError",
    "Usage",
    "UsagePart",
    "__version__",
    "make_report",
    "new_key",
    "sign_user_token",
]
