/** How a route is called and drawn. */
import type { Mode, RouteMode } from "../types.js";
import type { Word } from "./words.js";

export function modeWord(mode: Mode | RouteMode): Word {
  return `mode_${mode}`;
}

export function modeIcon(mode: Mode | RouteMode): string {
  return { auto: "auto", platform: "cloud", developer_key: "cloud", byok: "key", local: "device" }[mode];
}
