"""Azure OpenAI: OpenAI's format at a resource's own address, by deployment."""

from apps.gateway.providers.azure_openai.adapter import AzureOpenAI

__all__ = ["AzureOpenAI"]
