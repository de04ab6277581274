"""The ASGI application: model endpoints to the gateway, the rest to Django, sockets to Channels."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelfaucet.settings")
django_application = get_asgi_application()  # sets Django up, so it comes before the rooms are imported

from apps.gateway.app import Gateway  # noqa: E402
from apps.gateway.bridges.consumer import bridge_socket  # noqa: E402

gateway = Gateway(fallback=django_application)
application = ProtocolTypeRouter(
    {"http": gateway, "lifespan": gateway.lifespan, "websocket": bridge_socket(gateway.runtime)}
)
