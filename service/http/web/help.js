// The list of keys, and whether single letters are keys (WCAG 2.1.4: one can turn them off).
import { html, nothing } from "./lit-html.js";
import { changed, state } from "./page.js";
import { remember } from "./storage.js";

const KEYS = [
  ["Enter", "make"],
  ["Esc", "stop, or close"],
  ["/", "find a class"],
  ["s", "surprise me: any class"],
  ["r", "draw another seed"],
  ["l", "keep the seed, or not"],
  ["1 2 3 4", "the four views"],
  ["← → ↑ ↓", "from picture to picture"],
  ["d", "save the picture"],
  ["c", "copy its link"],
  ["Space", "in Compare: flicker"],
  ["?", "this list"],
];

let isOpen = false;

/** Opens the list, or closes it. */
export function toggleHelp(open = !isOpen) {
  isOpen = open;
  changed();
}

/** The list, while it is open. */
export function helpDialog() {
  if (!isOpen) return nothing;
  return html`<dialog id="help" class="sheet small" aria-labelledby="help-title" @close=${() => toggleHelp(false)}
    @click=${(event) => event.target.id === "help" && toggleHelp(false)}>
    <div>
      <div class="row spread"><h2 id="help-title">Keys</h2>
        <button type="button" class="icon" aria-label="Close" @click=${() => toggleHelp(false)}>✕</button></div>
      <dl class="keys">${KEYS.map(([key, text]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}</dl>
      <label class="check"><input type="checkbox" .checked=${state.hasKeys} @change=${set}>
        single letters are keys</label>
    </div>
  </dialog>`;
}

function set(event) {
  state.hasKeys = event.target.checked;
  remember("localStorage", "no keys", state.hasKeys ? "" : "1");
  changed();
}
