"""The narrow seam to providers: an HTTP/1.1 client that does what a relay needs and no more.

`errors` what can go wrong · `wire` the bytes of a request · `connection` one connection ·
`response` the answer on it, and what every answer is to a relay · `pool` connections kept between requests.
"""

from apps.core.outbound import ParsedUrl, parse_url
from apps.gateway.upstream.errors import (
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from apps.gateway.upstream.pool import UpstreamPool
from apps.gateway.upstream.response import Response, UpstreamResponse

__all__ = [
    "ParsedUrl",
    "Response",
    "UpstreamBroken",
    "UpstreamConnectError",
    "UpstreamError",
    "UpstreamPool",
    "UpstreamResponse",
    "UpstreamTimeout",
    "UpstreamTooLarge",
    "parse_url",
]
