/* The popup: what was selected, three things to do with it, and the answer as it comes. */

import { createFaucet } from "./sdk/faucet.js";
import { languageOf, readSettings, readWords, saveSettings, speak, storage, TASKS } from "./settings.js";

const $ = (id) => document.getElementById(id);
const settings = await readSettings();
const language = languageOf(settings);
const words = await readWords(language);
speak(words, language);

const faucet = createFaucet({
  baseUrl: settings.baseUrl,
  publicAppId: settings.publicAppId,
  bridgeUrl: settings.bridgeUrl,
  mode: settings.mode,
  featureKey: TASKS[0], // so that the balance needs no session of its own
  locale: language.replace("_", "-"),
  storage,
});
let running = null;

/** Takes what the context menu left; with two popups open, only one of them gets it. */
const take = () =>
  navigator.locks.request("pending", async () => {
    const { pending } = await chrome.storage.session.get("pending");
    await chrome.storage.session.remove("pending");
    return pending;
  });

/** Returns what the context menu left, else what is selected in the page before which the popup opened. */
async function selection() {
  const pending = await take();
  if (pending) return pending;
  const [tab] = await chrome.tabs.query({ active: true, currentWindow: true });
  const read = { target: { tabId: tab?.id ?? 0 }, func: () => String(getSelection()) };
  // The browser's own pages cannot be read: then the text is pasted.
  const [found] = await chrome.scripting.executeScript(read).catch(() => []);
  return { text: found?.result ?? "" };
}

function inputOf(task, text) {
  const own = language === "zh_CN" ? "Simplified Chinese" : "English";
  return { summary: { text }, translate: { text, language: $("target").value }, explain: { text, language: own } }[task];
}

async function run(task) {
  const text = $("text").value.trim();
  if (!text) {
    tell(words("nothing"));
    return;
  }
  running?.abort();
  // The features of the second kind are prompted and answered on this machine, or not at all.
  const stream = faucet.feature(faucet.mode === "local" ? `${task}-local` : task).stream(inputOf(task, text));
  running = stream;
  for (const each of document.querySelectorAll("[data-task]")) each.setAttribute("aria-pressed", each.dataset.task === task);
  $("answer").textContent = "";
  $("served").textContent = words("working");
  $("copy").hidden = $("problem").hidden = true;
  $("stop").hidden = $("answer").hidden = false;
  $("answer").setAttribute("aria-busy", "true");
  try {
    for await (const part of stream) if (running === stream && part.type === "text") $("answer").append(part.text);
    const result = await stream.result;
    if (running === stream) served(result);
  } catch (error) {
    if (running === stream) failed(error);
  } finally {
    if (running === stream) {
      running = null;
      $("stop").hidden = true;
      $("answer").removeAttribute("aria-busy");
      $("copy").hidden = $("answer").hidden = !$("answer").textContent;
    }
    void balance();
  }
}

function served({ finish_reason, model, price_usd, route_mode }) {
  const who = words(route_mode === "local" ? "local" : "platform");
  $("served").dataset.mode = route_mode;
  $("served").textContent =
    finish_reason === "aborted" ? words("stopped") : words("served", { who, model, price: price_usd ?? "0" });
}

function failed(error) {
  const known = ["insufficient_funds", "connection_failed", "bridge_unavailable", "not_paired"];
  $("served").textContent = "";
  tell(known.includes(error.code) ? words(error.code) : error.message);
}

function tell(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
}

async function balance() {
  const { available_usd } = await faucet.wallet.get().catch(() => ({}));
  $("balance").hidden = available_usd === undefined;
  if (available_usd !== undefined) $("balance").textContent = words("balance", { amount: Number(available_usd).toFixed(4) });
}

/** Takes the model on this computer where a bridge is there and its owner has allowed this extension. */
async function takeLocal() {
  const say = (text) => {
    $("local").textContent = text;
    $("local").hidden = !text;
  };
  say(words("looking"));
  const found = await faucet.local.status();
  if (!found) return say(words("bridge_unavailable"));
  if (!found.paired) {
    const { code, allowed } = await faucet.local.pair({ appName: words("name") });
    say(words("pair", { code }));
    if (!(await allowed)) return say(words("not_paired"));
  }
  say(words("paired"));
}

async function choose(mode) {
  faucet.setMode(mode);
  await saveSettings({ mode });
  $("local").hidden = true;
  if (mode === "local") await takeLocal().catch(failed);
}

for (const each of document.querySelectorAll("[data-task]")) each.onclick = () => run(each.dataset.task);
for (const each of document.querySelectorAll("[name=mode]")) {
  each.checked = each.value === settings.mode;
  each.onchange = () => choose(each.value);
}
$("target").value = settings.target || (language === "zh_CN" ? "Simplified Chinese" : "English");
$("target").onchange = () => saveSettings({ target: $("target").value });
$("stop").onclick = () => running?.abort();
$("copy").onclick = async () => {
  await navigator.clipboard.writeText($("answer").textContent);
  $("served").textContent = words("copied");
};

const { task, text } = await selection();
$("text").value = text;
if (!settings.baseUrl || !settings.publicAppId) $("unset").hidden = false;
else if (task && text) await run(task);
else await balance();
