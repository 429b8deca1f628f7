// The page by keyboard: what a key does wherever the focus is, the list of keys, and how to turn letters off
// (WCAG 2.1.4).
import { surprise } from "./classes.js";
import { letters, openCell } from "./detail.js";
import { drawSeed, put } from "./fields.js";
import { html, nothing } from "./lit-html.js";
import { changed, remember, remembered, state } from "./page.js";

const KEYS = {
  Enter: "make", Esc: "stop, or close", "/": "find a class", s: "surprise me: any class", r: "draw another seed",
  l: "keep the seed, or not", "1 2 3 4": "the four views", "← → ↑ ↓": "from picture to picture",
  d: "save the picture", c: "copy its link", Space: "in Compare: flicker", "?": "this list",
};
const TYPED = "input:not([type=checkbox], [type=range], [type=file]), select";
const PRESSED = "button, a, select, [type=checkbox], [type=file]";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let isOpen = false;

/** Opens the list of keys, or closes it. */
export function toggleHelp() {
  isOpen = !isOpen;
  changed();
}

/** The list, while it is open. */
export function helpDialog() {
  if (!isOpen) return nothing;
  const set = ({ target }) => remember("localStorage", "no keys", target.checked ? "" : "1");
  return html`<dialog id="help" class="sheet small" aria-labelledby="help-title" @close=${toggleHelp}
    @click=${({ target }) => target.id === "help" && target.close()}><form method="dialog">
      <div class="row spread"><h2 id="help-title">Keys</h2>
        <button class="icon" aria-label="Close">✕</button></div>
      <dl class="keys">${Object.entries(KEYS).map(([key, text]) => html`<div><dt><kbd>${key}</kbd></dt>
        <dd>${text}</dd></div>`)}</dl>
      <label class="check"><input type="checkbox" .checked=${hasLetters()} @change=${set}> letters are keys</label>
    </form></dialog>`;
}

/** Listens to keys. `go` has make() and stop(), which say whether they did, and show(k) for the k-th view. */
export function listenToKeys(go) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    const isDialog = document.querySelector("dialog[open]");
    const cell = isDialog ? openCell() : target.cell;
    const set = (value) => put("class_id", value);
    const page = {
      "/": () => document.querySelector("#class")?.focus(),
      "?": toggleHelp,
      s: () => surprise(state.form, set),
      r: drawSeed,
      l: () => (state.isSeedKept = !state.isSeedKept),
    };
    let does = null;
    if (!isDialog && key === "Escape") does = go.stop;
    else if (!isDialog && key === "Enter" && !target.matches(PRESSED)) does = go.make;
    else if (!isDialog && key in ARROWS && target.cell) does = () => step(target, ARROWS[key]);
    else if (!hasLetters() || target.matches(TYPED)) return;
    else if (cell && key in letters) does = () => letters[key](cell);
    else if (!isDialog && key in page) does = page[key];
    else if (!isDialog && /^[1-4]$/.test(key)) does = () => go.show(key - 1);
    if (!does || does() === false) return;
    event.preventDefault();
    changed();
  });
}

function hasLetters() {
  return !remembered("localStorage", "no keys");
}

/** Moves the focus to the nearest tile in a direction, by where tiles lie. */
function step(from, [dx, dy]) {
  const here = from.getBoundingClientRect();
  const [nearest] = [...document.querySelectorAll("button.tile")].flatMap((tile) => {
    const { x, y } = tile.getBoundingClientRect();
    const [along, across] = [(x - here.x) * dx + (y - here.y) * dy, (x - here.x) * dy + (y - here.y) * dx];
    return along > 1 ? [{ tile, far: along + 4 * Math.abs(across) }] : [];
  }).sort((a, b) => a.far - b.far);
  nearest?.tile.focus();
}
