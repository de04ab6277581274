/* Where the gateway is, and which app this is there. Both are public. */

import { languageOf, readSettings, readWords, saveSettings, speak } from "./settings.js";

const FIELDS = ["baseUrl", "publicAppId", "bridgeUrl", "language"];
const $ = (id) => document.getElementById(id);

async function show() {
  const settings = await readSettings();
  const language = languageOf(settings);
  const words = await readWords(language);
  speak(words, language);
  document.title = words("options_title");
  for (const name of FIELDS) $(name).value = settings[name];
  $("origin").textContent = location.origin;
  return words;
}

$("form").onsubmit = async (event) => {
  event.preventDefault();
  await saveSettings(Object.fromEntries(FIELDS.map((name) => [name, $(name).value.trim()])));
  $("said").textContent = (await show())("saved");
};
await show();
