from urllib.parse import quote, urlsplit

from apps.gateway.providers.base import CHAT, EMBEDDINGS, Headers
from apps.gateway.providers.openai_compatible import OpenAICompatible

# The newest version of the older API that is generally available.
API_VERSION = "2024-10-21"


class AzureOpenAI(OpenAICompatible):
    """`model` is the name of the deployment. base_url is one of

    - https://<resource>.openai.azure.com/openai/v1: the API without versions, the deployment in the body;
    - https://<resource>.openai.azure.com, with or without ?api-version=…: the deployment in the address.
    """

    name: str = "azure_openai"
    operations: frozenset[str] = frozenset({CHAT, EMBEDDINGS})
    extra_headers: Headers = ()

    def chat_url(self, base_url: str, *, model: str, stream: bool) -> str:
        return _address(base_url, model, "chat/completions")

    def embeddings_url(self, base_url: str, *, model: str) -> str:
        return _address(base_url, model, "embeddings")

    def check_url(self, base_url: str) -> str | None:
        return _address(base_url, None, "models")


def _address(base_url: str, deployment: str | None, operation: str) -> str:
    parts = urlsplit(base_url)
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    query = f"?{parts.query}" if parts.query else ""
    if base.endswith("/v1"):
        return f"{base}/{operation}{query}"
    base = base.removesuffix("/openai")
    place = "" if deployment is None else f"deployments/{quote(deployment, safe='')}/"
    return f"{base}/openai/{place}{operation}{query or f'?api-version={API_VERSION}'}"
