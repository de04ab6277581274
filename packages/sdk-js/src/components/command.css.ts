/** The looks of `<faucet-command>`. */
export const COMMAND_CSS = `
:host { display: inline-block; }
.button .icon { color: var(--_accent); } .button.main .icon { color: inherit; }
dialog { width: min(40rem, 100vw - 1.5rem); max-height: min(36rem, 100dvh - 3rem); margin: clamp(0.75rem, 10vh, 6rem) auto auto; padding: 0; border: 1px solid var(--_line); border-radius: calc(var(--_radius) * 1.15); background: var(--_surface); color: var(--_ink); overflow: hidden; box-shadow: 0 24px 64px -20px rgb(0 0 0 / 0.5); }
dialog[open] { display: flex; animation: rise 0.14s ease-out; }
dialog::backdrop { background: rgb(4 20 26 / 0.42); }
@keyframes rise { from { opacity: 0; transform: translateY(6px); } }
.palette, .palette > div { display: flex; flex-direction: column; flex: 1; min-width: 0; min-height: 0; }
.search { display: flex; align-items: center; gap: 0.6rem; padding: 0.6rem 0.6rem 0.6rem 1rem; border-bottom: 1px solid var(--_line); color: var(--_soft); }
.answered .search { padding-inline-start: 0.5rem; }
.search input { flex: 1; min-width: 0; min-height: 2.2rem; border: 0; background: none; color: var(--_ink); font-size: 1.0667em; outline: none; }
.search input::placeholder { color: var(--_soft); opacity: 1; }
.search:focus-within { box-shadow: inset 0 -1px 0 var(--_accent); }
.search h2 { color: var(--_ink); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
[part="back"] .icon { transform: rotate(90deg); }
.about { padding: 0.6rem 1rem 0.2rem; overflow-wrap: anywhere; }
.options { flex: 1; min-height: 0; padding: 0.4rem; overflow-y: auto; }
.option { display: flex; align-items: center; gap: 0.75rem; padding: 0.55rem 0.7rem; border-radius: calc(var(--_radius) * 0.7); cursor: pointer; }
.option .icon { color: var(--_soft); }
.option .grow { display: grid; overflow-wrap: anywhere; }
.option .name { font-weight: 520; }
.option.chosen { background: var(--_wash); } .option.chosen .icon { color: var(--_accent); } .option.chosen .soft { color: var(--_ink); }
.below { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 0.5rem; padding: 0.6rem 1rem; border-top: 1px solid var(--_line); }
@media (pointer: coarse) { .help { display: none; } }
.text { flex: 1; min-height: 5rem; padding: 0.9rem 1rem; overflow-y: auto; overflow-wrap: anywhere; }
.text:focus-visible { outline-offset: -3px; }
.text > * + * { margin-top: 0.65em; }
.text ul, .text ol { padding-inline-start: 1.35em; } .text ul { list-style: disc; } .text ol { list-style: decimal; }
.text :not(pre) > code { padding: 0.1em 0.35em; border-radius: 5px; background: var(--_sunken); font: 0.8667em var(--_mono); }
.text blockquote { padding-inline-start: 0.85em; border-inline-start: 3px solid var(--_line); color: var(--_soft); }
.coming > :last-child::after { content: ""; display: inline-block; width: 0.5em; height: 1em; margin-inline-start: 0.15em; border-radius: 2px; vertical-align: -0.12em; background: var(--_accent); animation: breathe 0.8s ease-in-out infinite alternate; }
`;
