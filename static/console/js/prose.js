// A model's text as elements: paragraphs, fenced code, inline code, bold. Never as HTML.

import { element } from "./strings.js";

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/g;

/** Replace the content of `target` by `text`. */
export function write(target, text) {
  const blocks = [];
  text.split(/^```[^\n]*\n?/m).forEach((part, place) => {
    if (place % 2) {
      const pre = element("pre", "", element("code", "", part.replace(/\n$/, "")));
      pre.tabIndex = 0;
      blocks.push(pre);
    } else if (part.trim()) {
      blocks.push(...part.trim().split(/\n{2,}/).map(paragraph));
    }
  });
  target.replaceChildren(...blocks);
}

function paragraph(text) {
  const heading = /^#{1,6} +(.*)$/.exec(text);
  if (heading) return element("p", "", element("strong", "", heading[1]));
  const made = element("p");
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    made.append(text.slice(from, match.index));
    made.append(match[1] !== undefined ? element("code", "", match[1]) : element("strong", "", match[2]));
    from = match.index + match[0].length;
  }
  made.append(text.slice(from));
  return made;
}
