"""What is told of a fee of the catalogue before it is agreed to: what it is for, what it costs, how it ends.

What it is for is the operator's; what it costs is said here, from the very amount that is charged, so that the words
and the charge cannot differ. Beside the code and not in the translations, as the words of `vault/disclosures.py` are.
"""

from apps.core.money import usd

ENGLISH, CHINESE = "en", "zh-hans"
_COST = {
    (ENGLISH, "month"): (
        "It costs {amount} USD a month, charged to your balance in this app at once and then every month, until you "
        "cancel. It ends with what is paid. A month that your balance does not cover is not charged, and what the fee "
        "is for pauses until it is."
    ),
    (ENGLISH, "once"): "It costs {amount} USD once, charged to your balance in this app at once. Nothing more follows.",
    (CHINESE, "month"): (
        "费用为每月 {amount} 美元，立即从您在本应用的余额中扣取，之后每月扣取一次，直至您取消。取消后，"
        "已付费的期间仍然有效。余额不足的月份不扣费，相应服务暂停，直至余额足够。"
    ),
    (CHINESE, "once"): "费用为一次性 {amount} 美元，立即从您在本应用的余额中扣取，之后不再收取。",
}
_ROUTE = {
    (ENGLISH, "byok", True): "Calls with your own key need it.",
    (ENGLISH, "local", True): "Calls to a model on your own machine need it.",
    (ENGLISH, "any", True): "All calls of this app need it.",
    (ENGLISH, "", False): "It is voluntary.",
    (CHINESE, "byok", True): "使用您自己的密钥进行调用需要此项。",
    (CHINESE, "local", True): "调用您自己设备上的模型需要此项。",
    (CHINESE, "any", True): "本应用的所有调用均需要此项。",
    (CHINESE, "", False): "此项为自愿。",
}


def fee_text(about: dict[str, str], *, amount: int, interval: str, route: str, required: bool, language: str) -> str:
    """Return the words in which a fee is told; `about` is what it is for, by language, `amount` in nano-USD."""
    language = known_language(language)
    need = _ROUTE[language, route if required else "", required]
    space = "" if language == CHINESE else " "
    return space.join((about[language].strip(), need, _COST[language, interval].format(amount=usd(amount))))


def known_language(language: str) -> str:
    """Return the language in which something is told to a reader of `language`."""
    return CHINESE if language.startswith("zh") else ENGLISH
