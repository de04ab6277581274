/* What the extension keeps in chrome.storage.local, the words of its pages, and the SDK's storage over the same. */

export const TASKS = ["summary", "translate", "explain"];
const EMPTY = { baseUrl: "", publicAppId: "", bridgeUrl: "http://127.0.0.1:19088", language: "", target: "", mode: "platform" };

/** Returns the settings: what was saved, else what `prepare.py` found, else nothing. */
export async function readSettings() {
  const prepared = await fetch("defaults.json").then((response) => response.json(), () => ({}));
  const { settings = {} } = await chrome.storage.local.get("settings");
  const said = Object.fromEntries(Object.entries(settings).filter(([, value]) => value));
  return { ...EMPTY, ...prepared, ...said };
}

export async function saveSettings(changes) {
  const { settings = {} } = await chrome.storage.local.get("settings");
  await chrome.storage.local.set({ settings: { ...settings, ...changes } });
}

/** The SDK's storage. In it are the device's id, a bridge's token, and reports that wait; no session, no prompt. */
export const storage = {
  getItem: async (key) => (await chrome.storage.local.get(key))[key] ?? null,
  setItem: (key, value) => chrome.storage.local.set({ [key]: value }),
  removeItem: (key) => chrome.storage.local.remove(key),
};

export const languageOf = ({ language }) =>
  language || (chrome.i18n.getUILanguage().startsWith("zh") ? "zh_CN" : "en");

/** Returns a function that gives a text by its name, with `{values}` filled in. The language may differ from the browser's. */
export async function readWords(language) {
  const messages = await (await fetch(chrome.runtime.getURL(`_locales/${language}/messages.json`))).json();
  return (name, values = {}) => messages[name].message.replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** Puts the words into a page: `data-word` names an element's text, `data-label` its accessible name. */
export function speak(words, language) {
  document.documentElement.lang = language.replace("_", "-");
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = words(each.dataset.word);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", words(each.dataset.label));
}
