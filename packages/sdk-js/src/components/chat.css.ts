/** The looks of `<faucet-chat>`. */
export const CHAT_CSS = `
.chat { position: relative; display: flex; flex-direction: column; height: var(--_chat-height); min-height: 18rem; }
:host([fill]), :host([fill]) > div, :host([fill]) .chat { height: 100%; }
.top { display: flex; align-items: center; gap: 0.5rem; padding: 0.55rem 0.6rem 0.55rem 1.125rem; border-bottom: 1px solid var(--_line); }
.log { position: relative; flex: 1 1 auto; display: flex; flex-direction: column; gap: 1.25rem; min-height: 0; padding: 1.125rem; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--_edge) transparent; }
.log:focus-visible { outline-offset: -3px; }
.welcome { margin: auto; display: grid; justify-items: center; gap: 0.7rem; padding-block: 1rem; text-align: center; }
.welcome p { font-size: 1.1333em; font-weight: 560; text-wrap: balance; }
.welcome .row { justify-content: center; }
.drop { display: grid; place-items: center; width: 2.6rem; height: 2.6rem; border-radius: 50%; background: var(--_wash); color: var(--_accent); font-size: 1.1em; }
.turn { display: grid; gap: 0.9rem; }
.turn > * { min-width: 0; }
.question { justify-self: end; align-self: flex-end; max-width: min(88%, 42rem); padding: 0.5rem 0.85rem; border-radius: 1.05rem 1.05rem 0.3rem 1.05rem; background: var(--_wash); white-space: pre-wrap; overflow-wrap: anywhere; }
.answer { max-width: 46rem; overflow-wrap: anywhere; }
.prose > * + * { margin-top: 0.65em; }
.prose ul, .prose ol { display: grid; gap: 0.25em; padding-inline-start: 1.35em; }
.prose ul { list-style: disc; } .prose ol { list-style: decimal; }
.prose li::marker { color: var(--_soft); }
.prose :not(pre) > code { padding: 0.1em 0.35em; border-radius: 5px; background: var(--_sunken); font: 0.8667em var(--_mono); }
.prose blockquote { padding-inline-start: 0.85em; border-inline-start: 3px solid var(--_line); color: var(--_soft); }
.prose hr { border: 0; border-top: 1px solid var(--_line); }
.prose h3, .prose h4, .prose h5, .prose h6 { font-size: 1em; font-weight: 640; }
.coming .prose > :last-child::after { content: ""; display: inline-block; width: 0.5em; height: 1em; margin-inline-start: 0.15em; border-radius: 2px; vertical-align: -0.12em; background: var(--_accent); animation: breathe 0.8s ease-in-out infinite alternate; }
.code { border-radius: calc(var(--_radius) * 0.64); background: var(--_sunken); overflow: clip; }
.code .bar { display: flex; align-items: center; justify-content: space-between; padding: 0.15rem 0.35rem 0 0.85rem; color: var(--_soft); font: 0.8em var(--_mono); }
.code pre { padding-top: 0.25rem; background: none; }
.code pre:focus-visible { outline-offset: -3px; }
.dots { display: flex; gap: 0.3rem; padding-block: 0.45rem; }
.dots i { width: 0.45rem; height: 0.45rem; border-radius: 50%; background: var(--_soft); animation: breathe 0.7s ease-in-out infinite alternate; }
.dots i:nth-of-type(2) { animation-delay: 0.18s; } .dots i:nth-of-type(3) { animation-delay: 0.36s; }
.below { display: flex; flex-wrap: wrap; align-items: center; gap: 0.15rem 0.3rem; margin: 0.3rem 0 0 -0.35rem; color: var(--_soft); }
.receipt { margin-top: 0.4rem; padding: 0.6rem 0.85rem; border-radius: calc(var(--_radius) * 0.64); background: var(--_sunken); }
.answer .notice:not(:first-of-type), .answer .prose + .notice { margin-top: 0.6rem; }
.credits { margin-top: 0.6rem; }
.latest { position: absolute; inset-inline: 0; bottom: 7.2rem; z-index: 1; display: grid; place-items: center; width: 2.25rem; height: 2.25rem; margin-inline: auto; border: 1px solid var(--_line); border-radius: 50%; background: var(--_surface); color: var(--_ink); box-shadow: 0 4px 14px -6px rgb(0 0 0 / 0.45); }
.composer { margin: 0 0.75rem 0.75rem; border: 1px solid var(--_edge); border-radius: calc(var(--_radius) * 0.9); background: var(--_surface); }
.composer:focus-within { border-color: var(--_accent); box-shadow: 0 0 0 1px var(--_accent); }
.grows { display: grid; max-height: 11rem; overflow-y: auto; }
.grows > * { grid-area: 1 / 1; min-width: 0; padding: 0.65rem 0.9rem 0.2rem; font: inherit; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
.grows > div { visibility: hidden; min-height: 1.45em; }
.grows textarea { width: 100%; border: 0; background: none; resize: none; overflow: hidden; outline: none; }
.grows textarea::placeholder { color: var(--_soft); opacity: 1; }
.foot { display: flex; align-items: center; gap: 0.4rem; padding: 0.25rem 0.4rem 0.4rem 0.7rem; }
.go { display: grid; place-items: center; width: 2.2rem; height: 2.2rem; border: 0; border-radius: 50%; background: var(--_accent); color: var(--_on-accent); }
.go[disabled] { background: var(--_sunken); color: var(--_soft); cursor: default; }
.go.stopping { background: var(--_ink); color: var(--_surface); }
@media (pointer: coarse) { .go { width: 2.75rem; height: 2.75rem; } .grows textarea, .grows > div { font-size: max(1em, 16px); } }
`;
