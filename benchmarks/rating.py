"""Rate usage events with one worker and print the rate as JSON. `python rating.py EVENTS`.

Run by run.py after the load, which has left its events unrated: real calls with real holds. It runs the body of
the Celery task `usage.rate` in this process, batch by batch, commits included.
"""

import json
import sys
import time

import django


def main(wanted: int) -> None:
    django.setup()
    from apps.core.clock import now
    from apps.usage.models import UsageEvent
    from apps.usage.services.rating import BATCH, rate_pending

    rate_pending(now=now())  # connect, and read prices, terms and accounts, once
    taken, cpu, began = 0, time.process_time(), time.perf_counter()
    while taken < wanted and (batch := rate_pending(now=now())):
        taken += batch
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    result = {
        "events": taken,
        "batch": BATCH,
        "seconds": seconds,
        "rate": taken / seconds,
        "cpu_per_event": cpu / max(taken, 1),
        "set_aside": UsageEvent.objects.exclude(rating_error=None).count(),
        "left": UsageEvent.objects.filter(rated_at=None, rating_error=None).count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]))
