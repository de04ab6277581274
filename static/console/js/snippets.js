// Tabs by arrow keys, and copy buttons.

import { say } from "./strings.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, { focus = false } = {}) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
}

const MOVES = { ArrowRight: (at) => at + 1, ArrowLeft: (at) => at - 1, Home: () => 0, End: () => tabs.length - 1 };

async function copy(button) {
  const code = document.getElementById(button.dataset.copy);
  const words = button.lastElementChild;
  const before = words.textContent;
  try {
    await navigator.clipboard.writeText(code.textContent);
    words.textContent = say("copied");
    button.classList.add("done");
  } catch {
    // No permission, or a page without HTTPS: leave the text selected for the visitor's own copy.
    window.getSelection().selectAllChildren(code);
    words.textContent = say("copy_failed");
  }
  button.disabled = true;
  setTimeout(() => {
    words.textContent = before;
    button.classList.remove("done");
    button.disabled = false;
  }, 1800);
}

/** Make the tabs and copy buttons work. */
export function start() {
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move) return;
      event.preventDefault();
      select(tabs[(move(place) + tabs.length) % tabs.length], { focus: true });
    });
  });
  select(tabs[0]);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
}
