"""The words of the page, in English and Chinese."""

CHINESE = {
    "Local models and your own keys, on this machine": "本机模型与自己的密钥,都在这台机器上",
    "This month (UTC)": "本月(UTC)",
    "Spent": "已用",
    "Remaining": "剩余",
    "Calls": "调用",
    "Failures": "失败",
    "Tokens": "Token",
    "no budget": "未设预算",
    "of": "/",
    "price unknown": "价格未知",
    "Calls of unknown price": "价格未知的调用",
    "A page asks to use this bridge": "有网页请求使用本机网关",
    "Allow it only if the page shows this code.": "仅当网页上显示的是此代码时才允许。",
    "It may then call your local models. It never sees your keys.": "允许后它可以调用你的本机模型,但看不到你的密钥。",
    "Allow": "允许",
    "Deny": "拒绝",
    "Channels": "渠道",
    "Channel": "渠道",
    "State": "状态",
    "Budget": "预算",
    "Requests / min": "每分钟请求 (RPM)",
    "Tokens / min": "每分钟 Token (TPM)",
    "Models": "模型",
    "up": "正常",
    "down": "不可用",
    "unknown": "未知",
    "disabled": "已停用",
    "found": "自动发现",
    "free": "免费",
    "stops when used up": "用完即停",
    "Spend by day": "每日花费",
    "Day": "日期",
    "Nothing was spent this month.": "本月尚无花费。",
    "Recent calls": "最近调用",
    "Time": "时间",
    "Model": "模型",
    "Status": "状态码",
    "Latency": "延迟",
    "Cost": "费用",
    "estimated": "估算",
    "No call yet.": "还没有调用。",
    "Alerts": "告警",
    "Raised": "触发时间",
    "Alert": "告警",
    "Sent to": "已发送到",
    "not sent": "未发送",
    "No alert yet.": "还没有告警。",
    "Pages that may call this bridge": "可以调用本机网关的网页",
    "Origin": "来源",
    "App": "应用",
    "Since": "自",
    "from the settings": "来自配置文件",
    "Revoke": "撤销",
    "No page may.": "没有网页。",
    "No channel yet: start Ollama, LM Studio, vLLM or llama.cpp, or add one with": (
        "还没有渠道:启动 Ollama、LM Studio、vLLM 或 llama.cpp,或用以下命令添加"
    ),
    "Gateway": "云端网关",
    "off": "未连接",
    "connecting": "连接中",
    "connected": "已连接",
    "Reports waiting": "待上报",
    "Prompts stay on this machine and are never written down.": "提示词只留在本机,从不落盘。",
    "The settings are wrong and were not taken up:": "配置有误,未生效:",
    "This page is locked": "此页面已锁定",
    "Open it with this command; the key in its address works once.": "请用此命令打开;地址中的密钥只能用一次。",
    "left": "剩余",
    "Bridge": "本机网关",
    "Light and dark follow your system.": "明暗跟随系统。",
}


def translator(language: str) -> "Translate":
    return Translate(CHINESE if language == "zh" else {})


class Translate:
    """Gives a word of the page in one language; English where there is none."""

    def __init__(self, words: dict[str, str]) -> None:
        self._words = words

    def __call__(self, text: str) -> str:
        return self._words.get(text, text)


def language_of(accept: str) -> str:
    """Return `zh` if a browser asks for Chinese before English, else `en`."""
    for part in accept.lower().split(","):
        name = part.split(";")[0].strip()
        if name.startswith("zh"):
            return "zh"
        if name.startswith("en"):
            return "en"
    return "en"
