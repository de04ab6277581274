"""Where this instance is reached."""

from django.conf import settings
from django.http import HttpRequest


def site_url(request: HttpRequest) -> str:
    """Return the address under which clients reach this instance, without a slash at its end."""
    public: str = settings.PUBLIC_BASE_URL or f"{request.scheme}://{request.get_host()}"
    return public.rstrip("/")
