"""When to look at Stripe again for something whose outcome is not known."""

from datetime import datetime, timedelta

# Longer than a call to Stripe may take: what is being sent right now is not looked for meanwhile.
FIRST_LOOK = timedelta(minutes=2)
_MOST = timedelta(hours=1)


def next_look(looks: int, now: datetime) -> datetime:
    """Return when to look after `looks` looks: twice as long each time, an hour at most."""
    return now + min(FIRST_LOOK * 2 ** min(looks, 10), _MOST)
