"""What the tests of plans are made of."""

from datetime import date, datetime
from typing import Any

from apps.billing.services.plan_uses import measure_plans
from apps.billing.services.plans import SHIPPED, PlanInput, create_plan, seed_plans
from apps.core.clock import now
from apps.developers.services.developers import create_developer
from tests.live import ACTOR

__all__ = ["ACTOR", "PlanInput", "developer", "measure", "month", "plan", "seed"]


def seed() -> None:
    seed_plans(now=now(), actor=ACTOR)


def plan(key: str, **values: Any) -> str:
    """Write a plan like the shipped Basic, with other values."""
    basic = SHIPPED["basic"]
    given = {name: getattr(basic, name) for name in PlanInput.__dataclass_fields__} | {"name": key.title(), **values}
    create_plan(key, PlanInput(**given), now=now(), actor=ACTOR)
    return key


def developer(name: str = "Ada") -> str:
    return create_developer(name, f"{name.lower()}@example.com", now=now(), actor=ACTOR)


def measure(at: datetime | None = None) -> int:
    return measure_plans(now=at or now())


def month(text: str) -> date:
    return date.fromisoformat(f"{text}-01")
