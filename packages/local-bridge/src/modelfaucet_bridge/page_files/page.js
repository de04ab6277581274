// Keeps the page fresh without a reload, unless somebody is about to press something in it.
"use strict";
const SECONDS = 3;
const main = document.getElementById("main");
async function refresh() {
  const busy = document.hidden || (main.contains(document.activeElement) && document.activeElement !== main);
  if (!busy && !String(getSelection())) {
    try {
      const answer = await fetch("/ui", { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...main.querySelectorAll("details")].map((item) => item.open);
      const scrolled = [...main.querySelectorAll(".scroll")].map((item) => item.scrollLeft);
      main.replaceChildren(...page.getElementById("main").childNodes);
      main.querySelectorAll("details").forEach((item, index) => { item.open = open[index] ?? false; });
      main.querySelectorAll(".scroll").forEach((item, index) => { item.scrollLeft = scrolled[index] ?? 0; });
    } catch { /* the bridge has stopped: the page stays as it was and tries again */ }
  }
  setTimeout(refresh, SECONDS * 1000);
}
setTimeout(refresh, SECONDS * 1000);
