"""Routing: the ordered targets of a call and why each other candidate was rejected. Pure; no I/O."""

from apps.gateway.routing.decision import Decision
from apps.gateway.routing.planning import plan
from apps.gateway.routing.reasons import Rejected
from apps.gateway.routing.sieve import wants_count
from apps.gateway.routing.table import CallerRoutes, RouteTable
from apps.gateway.routing.target import Target, make_target
from apps.gateway.routing.wish import Wish, read_wish

__all__ = [
    "CallerRoutes",
    "Decision",
    "Rejected",
    "RouteTable",
    "Target",
    "Wish",
    "make_target",
    "plan",
    "read_wish",
    "wants_count",
]
