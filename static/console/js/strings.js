// What the server put on the page for the scripts: translated words and a few facts.

export const page = JSON.parse(document.getElementById("page-data").textContent);

/** Return a text by name, its words in braces filled in. */
export function say(name, values = {}) {
  return page.strings[name].replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** Return an element with a class and children (text or elements). */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}
