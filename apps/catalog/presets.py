"""Providers that are known by name: which adapter and address they have, and where their terms are.

Careful on purpose: nobody's terms are taken to allow resale until an operator has read them (`terms_url` is where to
start), and data counts as trained on wherever that is not known to be ruled out for every tier. The ids are those of
genai-prices where it lists the provider, so that prices are found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# The address of these lies inside the operator's network: the outbound guard lets it pass once it is named.
_PRIVATE = (
    "Runs on your own machine: put its host:port into OUTBOUND_PRIVATE_ENDPOINTS first. The model's licence still "
    "applies. A key is whatever the server was started with; any word where it takes none."
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A provider as it is added. A `base_url` with {…} in it is a form to be filled in."""

    id: str
    name: str
    base_url: str
    adapter: str = "openai_compatible"
    terms_url: str = ""
    resale_allowed: bool = False
    trains_on_data: bool = True
    keeps_cache_control: bool = False
    notes: str = ""

    @property
    def needs_base_url(self) -> bool:
        """Tell whether the operator has to name the address."""
        return "{" in self.base_url


_LISTED = (
    Preset(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        terms_url="https://openai.com/policies/services-agreement/",
        trains_on_data=False,
        notes="Trains on API data only after an opt-in.",
    ),
    Preset(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        adapter="anthropic",
        terms_url="https://www.anthropic.com/legal/commercial-terms",
        trains_on_data=False,
    ),
    Preset(
        "azure",
        "Azure OpenAI",
        "https://{resource}.openai.azure.com/openai/v1",
        adapter="azure_openai",
        terms_url="https://www.microsoft.com/licensing/terms/",
        trains_on_data=False,
        notes="The upstream model of an offer is the name of the deployment. Without /openai/v1 the older, versioned "
        "API is used; ?api-version=… on the address chooses its version.",
    ),
    Preset(
        "google",
        "Gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        adapter="gemini",
        terms_url="https://ai.google.dev/gemini-api/terms",
        notes="Unpaid quota may be trained on; paid use is not.",
    ),
    Preset(
        "google-compatible",
        "Gemini (OpenAI-compatible)",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        terms_url="https://ai.google.dev/gemini-api/terms",
        notes="Unpaid quota may be trained on; paid use is not.",
    ),
    Preset(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        terms_url="https://openrouter.ai/terms",
        keeps_cache_control=True,
        notes="What is trained on depends on the provider behind; an account can be set to avoid those that train.",
    ),
    Preset(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        terms_url="https://cdn.deepseek.com/policies/en-US/deepseek-open-platform-terms-of-service.html",
        notes="Also speaks Anthropic's format at https://api.deepseek.com/anthropic.",
    ),
    Preset(
        "qwen",
        "Qwen (Alibaba Cloud, international)",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        terms_url="https://www.alibabacloud.com/help/en/legal",
        notes="Keys of the international and the Chinese site are not interchangeable.",
    ),
    Preset(
        "qwen-cn",
        "Qwen (Alibaba Cloud, China)",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        terms_url="https://terms.aliyun.com/",
        notes="Keys of the international and the Chinese site are not interchangeable.",
    ),
    Preset(
        "zhipuai",
        "Zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        terms_url="https://open.bigmodel.cn/",
    ),
    Preset("zai", "Z.ai (Zhipu, international)", "https://api.z.ai/api/paas/v4", terms_url="https://docs.z.ai/"),
    Preset(
        "moonshotai",
        "Moonshot (international)",
        "https://api.moonshot.ai/v1",
        terms_url="https://platform.moonshot.ai/",
    ),
    Preset(
        "moonshotai-cn",
        "Moonshot (China)",
        "https://api.moonshot.cn/v1",
        terms_url="https://platform.moonshot.cn/",
    ),
    Preset(
        "baichuan",
        "Baichuan",
        "https://api.baichuan-ai.com/v1",
        terms_url="https://platform.baichuan-ai.com/",
    ),
    Preset(
        "ernie",
        "ERNIE (Baidu Qianfan)",
        "https://qianfan.baidubce.com/v2",
        terms_url="https://cloud.baidu.com/doc/WENXINWORKSHOP/",
        notes="Takes the permanent API keys of version 2 (bce-v3/…).",
    ),
    Preset(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        terms_url="https://mistral.ai/terms",
        notes="The free tier is trained on; paid use can be kept out.",
    ),
    Preset(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        terms_url="https://groq.com/terms-of-use",
        trains_on_data=False,
    ),
    Preset(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        terms_url="https://www.together.ai/terms-of-service",
        notes="Whether data is trained on is a setting of the account.",
    ),
    Preset("x-ai", "xAI", "https://api.x.ai/v1", terms_url="https://x.ai/legal/terms-of-service-enterprise"),
    Preset(
        "cloudflare",
        "Cloudflare Workers AI",
        "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1",
        terms_url="https://www.cloudflare.com/service-specific-terms-developer-platform/",
        trains_on_data=False,
    ),
    Preset(
        "cloudflare-gateway",
        "Cloudflare AI Gateway",
        "https://gateway.ai.cloudflare.com/v1/{account_id}/{gateway_id}/compat",
        terms_url="https://www.cloudflare.com/service-specific-terms-developer-platform/",
        notes="Models are named provider/model. The terms that count are those of the provider behind.",
    ),
    Preset(
        "vercel",
        "Vercel AI Gateway",
        "https://ai-gateway.vercel.sh/v1",
        terms_url="https://vercel.com/legal/ai-product-terms",
        notes="Models are named provider/model. The terms that count are those of the provider behind.",
    ),
    Preset(
        "litellm",
        "LiteLLM",
        "http://127.0.0.1:4000/v1",
        keeps_cache_control=True,
        notes=f"{_PRIVATE} The terms that count are those of the providers behind.",
    ),
    *(
        Preset(name, title, address, resale_allowed=True, trains_on_data=False, notes=_PRIVATE)
        for name, title, address in (
            ("vllm", "vLLM", "http://127.0.0.1:8000/v1"),
            ("ollama", "Ollama", "http://127.0.0.1:11434/v1"),
            ("lm-studio", "LM Studio", "http://127.0.0.1:1234/v1"),
            ("llama-cpp", "llama.cpp", "http://127.0.0.1:8080/v1"),
        )
    ),
    Preset("custom", "OpenAI-compatible", "https://{host}/v1", notes="Whatever speaks OpenAI's chat completions."),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.id: preset for preset in _LISTED})
