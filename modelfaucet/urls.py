"""Every address that Django answers; the model endpoints of /v1 never get here (see `asgi.py`)."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from modelfaucet import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("accounts/", include("allauth.urls")),
    path("v1/", include("apps.gateway.api.urls")),
    path("console/", include("apps.console.developer.urls")),
    path("me/", include("apps.console.user.urls")),
    path("", include("apps.console.urls")),
]
