/* The context menu. What was selected waits in the session's storage, which is memory, until the popup takes it. */

import { languageOf, readSettings, readWords, TASKS } from "./settings.js";

async function makeMenu() {
  const words = await readWords(languageOf(await readSettings()));
  await chrome.contextMenus.removeAll();
  for (const id of TASKS) chrome.contextMenus.create({ id, title: words(`menu_${id}`), contexts: ["selection"] });
}

chrome.runtime.onInstalled.addListener(makeMenu);
chrome.storage.onChanged.addListener(({ settings }) => {
  if (settings && settings.oldValue?.language !== settings.newValue?.language) void makeMenu();
});

chrome.contextMenus.onClicked.addListener(async ({ menuItemId, selectionText }) => {
  await chrome.storage.session.set({ pending: { task: menuItemId, text: selectionText ?? "" } });
  try {
    await chrome.action.openPopup();
  } catch {
    // Some browsers open it for a click on the button only.
    await chrome.windows.create({ url: chrome.runtime.getURL("popup.html"), type: "popup", width: 440, height: 680 });
  }
});
