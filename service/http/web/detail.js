// One picture, large: its receipt, where its time went, ways to ask for it again, and whether it comes out the same.
import { fragmentOf } from "./fragment.js";
import { html, nothing, svg } from "./lit-html.js";
import { announce, changed, className, modelNamed, state } from "./page.js";
import { Run } from "./run.js";
import { fileOf, snippets } from "./snippets.js";
import { coarseness } from "./tile.js";

const shown = { cell: null, cells: [], again: null, copied: "" };

/** Opens the dialog on a cell of these; the arrow keys go through them. Without one, closes it. */
export function openPicture(cell = null, cells = [cell]) {
  Object.assign(shown, { cell, cells, again: null, copied: "" });
  changed();
}

/** The cell that it is open on, if it is. */
export function openCell() {
  return shown.cell;
}

/** Saves a blob's or a picture's URL as a file. */
export function save(href, download) {
  Object.assign(document.createElement("a"), { href, download }).click();
}

/** What `d` and `c` do with a cell: save its picture, copy its link. */
export const letters = {
  d: ({ image, request }) => image && save(image.url, fileOf(request)),
  c: (cell) => copy(cell, "link"),
};

/** The dialog. */
export function detailDialog() {
  const { cell, cells } = shown;
  if (!cell) return nothing;
  const { request, image, problem, state: word } = cell;
  const name = image?.receipt.class_name || className(request.model, request.class_id);
  const isLoaded = state.models.some((model) => model.name === request.model);
  const close = () => openPicture();
  const ways = Object.keys(waysOf(cell)).map((way) => html`<button type="button" @click=${() => copy(cell, way)}>
    ${shown.copied === way ? "Copied" : way === "link" ? "Copy link" : `Copy as ${way}`}</button>`);
  return html`<dialog id="picture" class="sheet" aria-label="Picture" @close=${close}
    @keydown=${({ key }) => turn({ ArrowLeft: -1, ArrowRight: 1 }[key])}
    @click=${({ target }) => target.id === "picture" && close()}>
    <div class="detail">
      <figure>${image
        ? html`<img alt="${name}, seed ${String(request.seed)}" src=${image.url}
            class=${coarseness(modelNamed(request.model).resolution)}>`
        : html`<p class="fault">${problem?.detail || problem?.title || word}</p>`}
        <figcaption class="row">${arrow("The one before", "←", -1)}
          <span class="muted">${cells.indexOf(cell) + 1} of ${cells.length}</span>
          ${arrow("The next one", "→", 1)}</figcaption>
      </figure>
      <div class="facts">
        <div class="row spread"><h2>${name}</h2>
          <button type="button" class="icon" aria-label="Close" @click=${close}>✕</button></div>
        ${image ? facts(image) : nothing}
        <div class="row wrap">${ways}
          ${image ? html`<button type="button" @click=${() => letters.d(cell)}>Save PNG</button>` : nothing}</div>
        ${image && isLoaded ? again(cell) : nothing}
      </div>
    </div>
  </dialog>`;
}

function turn(by) {
  const next = shown.cells[shown.cells.indexOf(shown.cell) + by];
  if (next) openPicture(next, shown.cells);
}

function arrow(label, text, by) {
  const isOff = !shown.cells[shown.cells.indexOf(shown.cell) + by];
  return html`<button type="button" class="icon" aria-label=${label} ?disabled=${isOff} @click=${() => turn(by)}>
    ${text}</button>`;
}

function waysOf({ request }) {
  return snippets(request, new URL(fragmentOf(request), location.href).href);
}

async function copy(cell, way) {
  try {
    await navigator.clipboard.writeText(waysOf(cell)[way]);
    shown.copied = way;
    announce("Copied");
  } catch {
    announce("The browser does not let this page copy."); // without https, or because somebody said no
  }
  changed();
}

function facts({ receipt, timing }) {
  const stages = Object.entries(timing ?? {}); // of a file it is not known
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  let end = 0;
  const bars = stages.map(([stage, ms]) => svg`<rect class=${stage} x=${(100 * ((end += ms) - ms)) / total}
    width=${(100 * ms) / total} height="8"></rect>`);
  return html`<dl class="receipt">${Object.entries(receipt).map(([name, value]) => value === ""
      ? nothing
      : html`<div><dt>${name}</dt><dd>${String(value)}</dd></div>`)}</dl>
    <div class="timing" ?hidden=${!total}>
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">${bars}</svg>
      <ul>${stages.map(([stage, ms]) => html`<li class=${stage}><span class="muted">${stage}</span>
        ${ms < 1000 ? `${ms.toPrecision(2)} ms` : `${(ms / 1000).toFixed(2)} s`}</li>`)}</ul>
    </div>`;
}

function again(cell) {
  const make = () => {
    shown.again = new Run([cell.request], { fresh: true });
    shown.again.start().then(() => announce(verdictOf(cell)));
  };
  const words = verdictOf(cell);
  const kind = words.startsWith("equal") ? "good" : words.startsWith("not") ? "bad" : "";
  const isBusy = Boolean(shown.again && !shown.again.isOver);
  return html`<div class="row wrap"><button type="button" class="strong" ?disabled=${isBusy} @click=${make}>
    Make again</button> <span class="verdict ${kind}">${words}</span></div>`;
}

function verdictOf({ image: { bytes } }) {
  if (!shown.again) return "and compare every byte";
  const [{ image, problem, step, steps }] = shown.again.cells;
  if (problem) return problem.detail || problem.title;
  if (!image) return shown.again.reason || `step ${step} of ${steps}`;
  const at = image.bytes.findIndex((byte, k) => byte !== bytes[k]);
  if (at < 0 && image.bytes.length === bytes.length) return "equal, byte for byte";
  return `not equal: ${at < 0 ? "its length" : `byte ${at}`} is the first that differs`;
}
