/** Line drawings of 20 by 20, in the colour of the text beside them. */

import { h, type Node_ } from "./view.js";

const PATHS: Record<string, string> = {
  send: "M10 16V4M4.5 9.5 10 4l5.5 5.5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  done: "m4.5 10.5 3.5 3.5 7.5-8",
  retry: "M15.5 10A5.5 5.5 0 1 1 13.9 6.1M15.5 3.5v3.3h-3.3",
  clear: "M4 5.5h12M8 5.5V4h4v1.5M5.5 5.5 6.3 16h7.4l.8-10.5",
  close: "m5.5 5.5 9 9m0-9-9 9",
  down: "M10 4v12m-5.5-5.5L10 16l5.5-5.5",
  more: "m5 8 5 5 5-5",
  spark: "M10 3.5 11.7 8.3 16.5 10l-4.8 1.7L10 16.5l-1.7-4.8L3.5 10l4.8-1.7z",
  key: "M12.5 11a3.5 3.5 0 1 0-3.3-2.3L4 14v2.5h2.5V15H8v-1.5h1.5l1.2-2.7c.5.2 1.1.2 1.8.2zM13 7h.01",
  device: "M4.5 4.5h11v8h-11zM2.5 15.5h15",
  cloud: "M6 15a3.3 3.3 0 0 1-.3-6.6 4.4 4.4 0 0 1 8.5-.7A3.7 3.7 0 0 1 14 15z",
  auto: "M4 7h9.5M11 4l3 3-3 3M16 13H6.5M9 10l-3 3 3 3",
  card: "M3 5.5h14v9H3zM3 8.5h14M6 12h2.5",
  alert: "M10 3.5 17 16H3zM10 8v3.5m0 2.2v.1",
  info: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 9v4.5M10 6.4v.1",
  plus: "M10 4.5v11M4.5 10h11",
  search: "M9 14a5 5 0 1 0 0-10 5 5 0 0 0 0 10zm3.6-1.4L16.5 16.5",
  insert: "M4 5h12M4 15h12M4 10h6m6-2.5L12.5 10l3.5 2.5",
  edit: "m4 16 .8-3.2 8.4-8.4 2.4 2.4-8.4 8.4z",
  out: "M8 5H4.5v10.5H15V12M11 4.5h4.5V9M9 11l6.3-6.3",
};

export function icon(name: keyof typeof PATHS & string): Node_ {
  const solid = name === "stop";
  return h(
    "svg",
    { class: solid ? "icon solid" : "icon", viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
    h("path", { d: PATHS[name] ?? "" }),
  );
}
