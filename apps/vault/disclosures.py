"""What end users are told before a route of their own is used: the fee, who bills what, and what becomes of data.

Beside the code and not in the translations, because these words are stored with each acknowledgement: they change by
a commit, and say in every language what `apps/usage/rate.py` charges.
"""

from dataclasses import dataclass

from apps.catalog.queries import ProviderInfo
from apps.core.money import usd
from apps.features.queries import Terms
from apps.vault.models import FeeMode

ENGLISH, CHINESE = "en", "zh-hans"
# The one kind of fee that is charged per request; plans and their subscriptions are disclosed where they are bought.
GATEWAY_FEE = "gateway_fee"
_FEE = {
    (ENGLISH, FeeMode.BYOK): (
        "With your own key, the provider bills you for the tokens of your calls, at its own prices. "
        "For each answered request this app charges a gateway fee of {fee} USD and nothing else."
    ),
    (ENGLISH, FeeMode.LOCAL): (
        "With a model on your own machine no provider is involved. "
        "For each answered request this app charges a gateway fee of {fee} USD and nothing else."
    ),
    (CHINESE, FeeMode.BYOK): (
        "使用您自己的密钥时，服务商按其自身价格向您收取调用所用 Token 的费用。"
        "每个得到回答的请求，本应用收取 {fee} 美元的网关费，除此之外不收取任何费用。"
    ),
    (CHINESE, FeeMode.LOCAL): (
        "使用您自己设备上的模型时，不涉及任何服务商。"
        "每个得到回答的请求，本应用收取 {fee} 美元的网关费，除此之外不收取任何费用。"
    ),
}
_NO_FEE = {
    (ENGLISH, FeeMode.BYOK): (
        "With your own key, the provider bills you for the tokens of your calls, at its own prices. "
        "This app charges nothing for it."
    ),
    (ENGLISH, FeeMode.LOCAL): (
        "With a model on your own machine no provider is involved. This app charges nothing for it."
    ),
    (CHINESE, FeeMode.BYOK): (
        "使用您自己的密钥时，服务商按其自身价格向您收取调用所用 Token 的费用。本应用不收取任何费用。"
    ),
    (CHINESE, FeeMode.LOCAL): "使用您自己设备上的模型时，不涉及任何服务商。本应用不收取任何费用。",
}
_TRAINING = {
    (ENGLISH, True): "{name} may use what you send it to train its models.",
    (ENGLISH, False): "By its terms, {name} does not use what you send it to train its models.",
    (CHINESE, True): "{name} 可能会将您发送的内容用于训练其模型。",
    (CHINESE, False): "根据其条款，{name} 不会将您发送的内容用于训练其模型。",
}


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The fee of a mode in nano-USD per answered request, and the words in which it is told."""

    mode: str
    fee: int
    text: str


def disclosure(terms: Terms, mode: str, *, language: str) -> Disclosure:
    """Return what is to be told of `mode` (byok or local) under these terms; an unknown language gets English."""
    mode = FeeMode(mode)
    fee = terms.byok_fee if mode == FeeMode.BYOK else terms.local_fee
    texts = _FEE if fee else _NO_FEE
    return Disclosure(mode.value, fee, texts[_known(language), mode].format(fee=usd(fee)))


def training_notice(provider: ProviderInfo, *, language: str) -> str:
    """Return what becomes of data at a provider, and what its terms require to be shown."""
    text = _TRAINING[_known(language), provider.trains_on_data].format(name=provider.name)
    return f"{text} {provider.notice}".strip()


def _known(language: str) -> str:
    return CHINESE if language.startswith("zh") else ENGLISH
