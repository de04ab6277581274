"""Health: whether this process answers (/healthz), and whether what it stands on does (/readyz)."""

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200: the process is up. For supervisors that restart what does not answer."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if database and cache do, else 503 with what failed. For load balancers."""
    failing = []
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        failing.append("database")
    try:
        cache.get("readyz")
    except Exception:  # whatever the cache's client raises: its names are in a library that may not be in use
        failing.append("redis")
    return JsonResponse({"status": "failing" if failing else "ok", "failing": failing}, status=503 if failing else 200)
