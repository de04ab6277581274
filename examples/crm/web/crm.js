/* The whole of the CRM's use of models: three features, called by name. No key, no prompt and no price is in here. */

const config = await (await fetch("config.json")).json();
const { createFaucet } = await import(`${config.sdk}/faucet.js`);
await import(`${config.sdk}/components.js`);

const WORDS = {
  en: {
    who: "Signed in as Ada", language: "中文", settings: "AI settings", summarise: "Sum up", mood: "Read the mood",
    draft: "Your answer", reply: "Draft a reply", stop: "Stop", send: "Send", contacts: "Contacts", value: "Worth",
    working: "Working …", sent: "Sent (this is an example: it went nowhere).",
    modes: { platform: "the app’s models", developer_key: "the app’s models", byok: "your own key", local: "your own machine" },
    moods: { positive: "glad", neutral: "neutral", negative: "unhappy" },
    served: (mode, model, price) => `Answered by ${mode} (${model})${price ? `, for $${price}` : ""}.`,
    topUp: "Your credit is used up. Add some under “AI settings”.",
  },
  "zh-CN": {
    who: "已登录：Ada", language: "English", settings: "AI 设置", summarise: "总结", mood: "判断情绪",
    draft: "您的回复", reply: "起草回复", stop: "停止", send: "发送", contacts: "联系人", value: "金额",
    working: "正在处理……", sent: "已发送（这是示例，不会真的发出）。",
    modes: { platform: "应用自带的模型", developer_key: "应用自带的模型", byok: "您自己的密钥", local: "您自己的电脑" },
    moods: { positive: "满意", neutral: "平静", negative: "不满" },
    served: (mode, model, price) => `由${mode}（${model}）回答${price ? `，费用 $${price}` : ""}。`,
    topUp: "额度用完了，请在“AI 设置”里充值。",
  },
};

const asked = new URLSearchParams(location.search).get("lang") ?? navigator.language;
let language = asked.startsWith("zh") ? "zh-CN" : "en";
let words = WORDS[language];
const short = () => (language === "en" ? "en" : "zh");
const $ = (id) => document.getElementById(id);

const faucet = createFaucet({
  baseUrl: config.baseUrl,
  publicAppId: config.publicAppId,
  bridgeUrl: config.bridgeUrl,
  locale: language,
  // Who is signed in is for our backend to say; it signs that, and the gateway opens a session of that person's.
  userToken: async () => (await (await fetch("user-token")).json()).token,
});
for (const element of document.querySelectorAll("#settings > *")) {
  if (element.localName.startsWith("faucet-")) element.faucet = faucet;
}
// Some browsers ask the user before a page reaches this machine: the switch looks for a bridge once one was paired.
document.querySelector("faucet-local").addEventListener("faucet-bridge", ({ detail }) => {
  const mode = document.querySelector("faucet-mode");
  if (detail.state !== "connected" || mode.hasAttribute("look-for-bridge")) return;
  mode.setAttribute("look-for-bridge", "");
  void mode.refresh();
});

const contacts = await (await fetch("contacts.json")).json();
let contact = contacts[0];
let running = null;

function show() {
  words = WORDS[language];
  document.documentElement.lang = language;
  for (const [id, word] of Object.entries({
    who: "who", language: "language", "settings-open": "settings", "settings-title": "settings", summarise: "summarise",
    mood: "mood", "draft-label": "draft", reply: "reply", stop: "stop", send: "send",
  })) $(id).textContent = words[word];
  $("contacts").setAttribute("aria-label", words.contacts);
  $("contacts").replaceChildren(...contacts.map((each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(text("strong", each.name), text("span", each.company));
    button.setAttribute("aria-current", String(each === contact));
    button.onclick = () => open(each);
    return button;
  }));
  $("name").textContent = contact.name;
  $("facts").textContent = `${contact.company} · ${contact.stage[short()]} · ${words.value} $${contact.value}`;
  $("messages").replaceChildren(...contact.messages.map((message) => {
    const row = text("li", message.text[short()]);
    row.className = message.from;
    row.prepend(text("small", message.at));
    return row;
  }));
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

function open(other) {
  running?.abort();
  contact = other;
  $("draft").value = "";
  for (const id of ["summary", "mood-badge", "problem"]) $(id).hidden = true;
  $("served").textContent = "";
  show();
}

const conversation = () =>
  contact.messages.map((each) => `${each.from === "us" ? "Ada" : contact.name}: ${each.text[short()]}`).join("\n\n");
const lastOfTheirs = () => contact.messages.findLast((each) => each.from === "them").text[short()];

/** Run one call: say that it runs, then who answered and what it cost, or what went wrong. */
async function call(button, work) {
  const about = contact;
  button.disabled = true;
  $("problem").hidden = true;
  $("served").textContent = words.working;
  try {
    const result = await work();
    if (contact === about) {
      $("served").textContent = words.served(words.modes[result.route_mode], result.model, result.price_usd);
      $("served").dataset.mode = result.route_mode;
    }
  } catch (error) {
    $("served").textContent = "";
    $("problem").textContent = error.code === "insufficient_funds" ? words.topUp : error.message;
    $("problem").hidden = false;
  } finally {
    button.disabled = false;
  }
}

$("summarise").onclick = () => call($("summarise"), async () => {
  const result = await faucet.feature("summary")({ text: conversation() });
  $("summary").textContent = result.text;
  $("summary").hidden = false;
  return result;
});

$("mood").onclick = () => call($("mood"), async () => {
  const result = await faucet.feature("sentiment")({ text: lastOfTheirs() });
  const mood = result.output?.sentiment ?? "neutral";
  $("mood-badge").textContent = words.moods[mood];
  $("mood-badge").dataset.mood = mood;
  $("mood-badge").hidden = false;
  return result;
});

$("reply").onclick = () => call($("reply"), async () => {
  const stream = faucet.feature("reply").stream({ message: lastOfTheirs(), tone: "friendly" });
  running = stream;
  $("stop").hidden = false;
  $("draft").value = "";
  try {
    for await (const part of stream) if (part.type === "text") $("draft").value += part.text;
    return await stream.result;
  } finally {
    $("stop").hidden = true;
    running = null;
  }
});

$("stop").onclick = () => running?.abort();
$("answer").onsubmit = (event) => {
  event.preventDefault();
  if ($("draft").value.trim()) $("served").textContent = words.sent;
};
$("language").onclick = () => {
  language = language === "en" ? "zh-CN" : "en";
  show();
};
$("settings-open").onclick = () => {
  $("settings").hidden = !$("settings").hidden;
  $("settings-open").setAttribute("aria-expanded", String(!$("settings").hidden));
};
show();
