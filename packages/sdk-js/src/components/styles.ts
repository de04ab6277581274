/** What every element looks like. Colours, shape and type are custom properties; the rest is reached by `::part`. */

/** Each colour in light and in dark; `--faucet-NAME` overrides both. Contrast is at least 4.5 : 1 for text, 3 : 1 for edges. */
export const COLOURS: Record<string, readonly [light: string, dark: string]> = {
  accent: ["#086a82", "#62d2e8"],
  "on-accent": ["#ffffff", "#04181e"],
  wash: ["#e2f2f6", "#11343f"],
  surface: ["#ffffff", "#0d2027"],
  sunken: ["#f1f6f7", "#122a32"],
  line: ["#d9e4e6", "#23404a"],
  edge: ["#7a9198", "#6f8b95"],
  ink: ["#0b242b", "#e8f2f4"],
  soft: ["#48626a", "#a5bcc3"],
  good: ["#17714a", "#6fd3a3"],
  "good-wash": ["#e2f4ea", "#0f3326"],
  warn: ["#7a4f00", "#f2c361"],
  "warn-wash": ["#fbf0d9", "#33280f"],
  bad: ["#a4231b", "#ff9a8f"],
  "bad-wash": ["#fce9e7", "#3a1714"],
};

/** What else may be set, with its default. */
export const MEASURES: Record<string, string> = {
  radius: "14px",
  size: "15px",
  font: '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", system-ui, sans-serif',
  mono: 'ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace',
  "chat-height": "32rem",
};

function colours(place: 0 | 1): string {
  const lines = Object.entries(COLOURS).map(([name, pair]) => `--_${name}: var(--faucet-${name}, ${pair[place]});`);
  return [`color-scheme: ${place === 0 ? "light" : "dark"};`, ...lines].join("\n");
}

const MEASURED = Object.entries(MEASURES).map(([name, value]) => `--_${name}: var(--faucet-${name}, ${value});`);

const BASE = `
:host { ${colours(0)} ${MEASURED.join("\n")}
  display: block; box-sizing: border-box; min-width: 0; max-width: 100%;
  color: var(--_ink); font: var(--_size)/1.5 var(--_font); text-align: start; -webkit-font-smoothing: antialiased; }
@media (prefers-color-scheme: dark) { :host(:not([theme="light"])) { ${colours(1)} } }
:host([theme="dark"]) { ${colours(1)} }
:host([hidden]), [hidden] { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
h2, h3, h4, h5, h6, p, ul, ol, dl, dd, pre, blockquote, figure, fieldset { margin: 0; padding: 0; border: 0; }
ul, ol { list-style: none; }
button, input, select, textarea { font: inherit; color: inherit; margin: 0; }
button, summary { cursor: pointer; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
a { color: var(--_accent); text-underline-offset: 0.2em; }

.panel { container-type: inline-size; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_surface); overflow: clip; }
.pad { display: grid; gap: 0.875rem; padding: 1.125rem; }
.pad > * { min-width: 0; }
.head { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.5rem 0.75rem; }
.head > div { flex: 1 1 14rem; min-width: 0; }
legend { padding: 0; margin-bottom: 0.5rem; }
h2 { font-size: 1.0625em; font-weight: 620; line-height: 1.3; letter-spacing: -0.005em; }
h3 { font-size: 0.9375em; font-weight: 600; line-height: 1.35; }
.soft { color: var(--_soft); }
.small { font-size: 0.8667em; }
.number { font-variant-numeric: tabular-nums; }
.mono { font-family: var(--_mono); font-size: 0.8667em; overflow-wrap: anywhere; }
.stack { display: grid; gap: 0.5rem; }
.stack > * { min-width: 0; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; }
.grow { flex: 1 1 auto; min-width: 0; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.icon { flex: none; width: 1.2em; height: 1.2em; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
.icon.solid { fill: currentColor; }

.button { display: inline-flex; align-items: center; justify-content: center; gap: 0.4em; min-height: 2.4rem; padding: 0.3rem 0.9rem;
  border: 1px solid var(--_edge); border-radius: calc(var(--_radius) * 0.64); background: var(--_surface); color: var(--_ink); font-weight: 520; line-height: 1.25; text-decoration: none; transition: background 0.12s, border-color 0.12s; }
.button:hover { background: var(--_sunken); }
.button.main { border-color: var(--_accent); background: var(--_accent); color: var(--_on-accent); }
.button.main:hover { background: color-mix(in srgb, var(--_accent) 88%, var(--_ink)); }
.button.bad { border-color: var(--_bad); color: var(--_bad); }
.button.small { min-height: 2rem; padding: 0.2rem 0.65rem; font-size: 0.8667em; }
.button[disabled], .button[aria-disabled="true"] { opacity: 0.55; cursor: default; }
.quiet { display: inline-flex; align-items: center; justify-content: center; gap: 0.3em; min-width: 1.9rem; min-height: 1.9rem; padding: 0.15rem 0.35rem; border: 0; border-radius: 8px; background: none; color: var(--_soft); font-size: 0.8667em; line-height: 1.2; }
.quiet:hover { background: var(--_sunken); color: var(--_ink); }
@media (pointer: coarse) { .button, .button.small { min-height: 2.75rem; } .quiet { min-width: 2.5rem; min-height: 2.5rem; } }

label, .label { font-size: 0.8667em; font-weight: 560; }
.field { display: grid; gap: 0.25rem; align-content: start; min-width: 0; }
.fields { display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 12rem), 1fr)); }
.input { width: 100%; min-width: 0; min-height: 2.5rem; padding: 0.4rem 0.7rem; border: 1px solid var(--_edge); border-radius: calc(var(--_radius) * 0.64); background: var(--_surface); color: var(--_ink); }
select.input { appearance: none; padding-inline-end: 2rem; background: linear-gradient(45deg, transparent 50%, var(--_soft) 50%) calc(100% - 1.05rem) 55% / 0.35rem 0.35rem no-repeat, linear-gradient(-45deg, transparent 50%, var(--_soft) 50%) calc(100% - 0.7rem) 55% / 0.35rem 0.35rem no-repeat; background-color: var(--_surface); }
.input::placeholder { color: var(--_soft); opacity: 1; }
.input:focus-visible { outline-offset: -1px; }
.input[aria-invalid="true"] { border-color: var(--_bad); }
.check { display: flex; align-items: flex-start; gap: 0.55rem; font-size: 0.9333em; font-weight: 400; }
input[type="checkbox"], input[type="radio"] { flex: none; width: 1.1rem; height: 1.1rem; margin: 0.16em 0 0; accent-color: var(--_accent); }

.badge { display: inline-flex; align-items: center; gap: 0.3em; padding: 0.1em 0.55em; border-radius: 99px; background: var(--_sunken); color: var(--_soft); font-size: 0.8em; font-weight: 540; line-height: 1.6; white-space: nowrap; }
.badge.good { background: var(--_good-wash); color: var(--_good); }
.badge.warn { background: var(--_warn-wash); color: var(--_warn); }
.badge.bad { background: var(--_bad-wash); color: var(--_bad); }
.badge.accent { background: var(--_wash); color: var(--_accent); }
.notice { display: flex; align-items: flex-start; gap: 0.6rem; padding: 0.7rem 0.85rem; border-radius: calc(var(--_radius) * 0.7); background: var(--_sunken); font-size: 0.9333em; }
.notice > .icon { margin-top: 0.12em; color: var(--_soft); }
.notice > div { display: grid; gap: 0.3rem; flex: 1; min-width: 0; overflow-wrap: anywhere; }
.notice strong { font-weight: 600; }
.notice.bad { background: var(--_bad-wash); } .notice.bad > .icon, .notice.bad strong { color: var(--_bad); }
.notice.warn { background: var(--_warn-wash); } .notice.warn > .icon, .notice.warn strong { color: var(--_warn); }
.notice.good { background: var(--_good-wash); } .notice.good > .icon, .notice.good strong { color: var(--_good); }
.notice .soft { color: var(--_ink); opacity: 0.86; }
.card { display: grid; gap: 0.6rem; padding: 0.85rem 0.95rem; border: 1px solid var(--_line); border-radius: calc(var(--_radius) * 0.8); }
.card > * { min-width: 0; }
details > summary { display: flex; align-items: center; gap: 0.35rem; padding: 0.2rem 0; border-radius: 6px; color: var(--_soft); font-size: 0.8667em; font-weight: 540; list-style: none; }
details > summary::-webkit-details-marker { display: none; }
details > summary .icon { transition: transform 0.15s; }
details[open] > summary .icon { transform: rotate(180deg); }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.9em; }
th { color: var(--_soft); font-size: 0.9em; font-weight: 540; text-align: start; }
th, td { padding: 0.45rem 0.6rem; border-bottom: 1px solid var(--_line); vertical-align: middle; }
tbody tr:last-child > td { border-bottom: 0; }
th:first-child, td:first-child { padding-inline-start: 0; }
th:last-child, td:last-child { padding-inline-end: 0; }
th.number, td.number { text-align: end; white-space: nowrap; }
.facts { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.15rem 0.9rem; font-size: 0.8667em; }
.facts dt { color: var(--_soft); } .facts dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.empty { padding: 0.9rem 0; color: var(--_soft); font-size: 0.9333em; text-align: center; }
.skeleton { height: 2.6rem; border-radius: 10px; background: var(--_sunken); animation: breathe 1.4s ease-in-out infinite alternate; }
.meter { display: block; width: 100%; height: 6px; border-radius: 3px; overflow: hidden; } .meter rect { fill: var(--_line); } .meter rect + rect { fill: var(--_accent); } .meter.warn rect + rect { fill: var(--_warn); }
pre { overflow-x: auto; padding: 0.7rem 0.85rem; border-radius: calc(var(--_radius) * 0.64); background: var(--_sunken); font: 0.8667em/1.55 var(--_mono); }
@keyframes breathe { to { opacity: 0.45; } }
@media (prefers-reduced-motion: reduce) { *, *::before, *::after { animation: none !important; transition: none !important; scroll-behavior: auto !important; } }
@media (forced-colors: active) { .button, .badge, .notice { border: 1px solid; } }
`;

const sheets = new Map<string, CSSStyleSheet>();

/** Return the style sheets of an element: what all share, and its own. Each is parsed once in a page. */
export function styleSheets(own: string): CSSStyleSheet[] {
  return [BASE, own].map((css) => {
    let sheet = sheets.get(css);
    if (sheet === undefined) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      sheets.set(css, sheet);
    }
    return sheet;
  });
}
