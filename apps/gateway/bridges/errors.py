"""What can go wrong with a bridge, as its caller is told."""

from apps.gateway.upstream.errors import UpstreamError

UNAVAILABLE = "bridge_unavailable"
LOST = "bridge_lost"
BUSY = "bridge_busy"
FAILED = "bridge_failed"
# What bridges say of a call that they give up, and how that is told; anything else is FAILED.
TOLD = {
    "busy": BUSY,
    "model_not_found": "bridge_model_not_found",
    "endpoint_unreachable": "bridge_endpoint_unreachable",
    "endpoint_timeout": "bridge_endpoint_timeout",
    "endpoint_broke_off": "bridge_endpoint_broke_off",
}
# These say nothing of the model behind the bridge; the next connection may be well.
ABOUT_THE_CONNECTION = frozenset({UNAVAILABLE, LOST, BUSY})


class BridgeError(UpstreamError):
    """A bridge did not answer a call, or did not answer it to its end."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
