// One picture, large: its receipt, where its time went, ways to ask for it again, and whether it comes out the same.
import { fragmentOf } from "./fragment.js";
import { html, nothing, svg } from "./lit-html.js";
import { announce, changed, className, modelNamed, state } from "./page.js";
import { Run } from "./run.js";
import { fileName, snippets } from "./snippets.js";

const shown = { cell: null, cells: [], again: null, copied: "" };

/** Opens the dialog on a cell that has a picture, or a problem; the arrow keys go through `cells`. */
export function openPicture(cell, cells = [cell]) {
  Object.assign(shown, { cell, cells, again: null, copied: "" });
  changed();
}

/** Closes it. */
export function closePicture() {
  openPicture(null, []);
}

/** The cell that it is open on, if it is. */
export function openCell() {
  return shown.cell;
}

/** Goes to the next picture, or the one before. */
export function turn(by) {
  const { cell, cells } = shown;
  const next = cells[cells.indexOf(cell) + by];
  if (next) openPicture(next, cells);
}

/** Saves a cell's picture as a file. */
export function save({ image }) {
  if (image) Object.assign(document.createElement("a"), { href: image.url, download: fileName(image.receipt) }).click();
}

/** Copies a cell's request in one of the ways of `snippets`. */
export async function copy({ request }, way) {
  const text = Object.fromEntries(snippets(request, fragmentOf(request)))[way];
  try {
    await navigator.clipboard.writeText(text);
    shown.copied = way;
    announce(`Copied as ${way}`);
  } catch {
    announce("The browser does not let this page copy."); // no https, or not allowed
  }
  changed();
}

/** The dialog. */
export function detailDialog() {
  const { cell, cells } = shown;
  if (!cell) return nothing;
  const at = cells.indexOf(cell);
  return html`<dialog id="picture" class="sheet" aria-label="Picture" @close=${closePicture} @keydown=${pressed}
    @click=${(event) => event.target.id === "picture" && closePicture()}>
    <div class="detail">
      <figure>
        ${cell.image
          ? html`<img alt="${className(cell.request.model, cell.request.class_id)}, seed ${String(cell.request.seed)}"
              class=${(modelNamed(cell.request.model)?.resolution ?? 0) <= 160 ? "coarse" : ""} src=${cell.image.url}>`
          : html`<p class="fault">${cell.problem?.detail || cell.problem?.title || cell.state}</p>`}
        <figcaption class="row">
          ${arrow("The one before", "←", -1, at <= 0)}
          <span class="muted">${at + 1} of ${cells.length}</span>
          ${arrow("The next one", "→", 1, at + 1 >= cells.length)}
        </figcaption>
      </figure>
      <div class="facts">
        <div class="row spread">
          <h2>${className(cell.request.model, cell.request.class_id)}</h2>
          <button type="button" class="icon" aria-label="Close" @click=${closePicture}>✕</button>
        </div>
        ${cell.image ? [receipt(cell.image.receipt), timing(cell.image.timing)] : nothing}
        ${actions(cell)}
      </div>
    </div>
  </dialog>`;
}

function arrow(label, text, by, isOff) {
  return html`<button type="button" class="icon" aria-label=${label} ?disabled=${isOff} @click=${() => turn(by)}>
    ${text}</button>`;
}

function receipt(values) {
  const facts = Object.entries(values).filter(([, value]) => value !== "");
  return html`<dl class="receipt">${facts.map(
    ([name, value]) => html`<div><dt>${name}</dt><dd>${String(value)}</dd></div>`,
  )}</dl>`;
}

function timing(stages) {
  if (!stages) return nothing;
  const all = Object.entries(stages);
  const total = all.reduce((sum, [, ms]) => sum + ms, 0) || 1;
  let x = 0;
  const bars = all.map(([name, ms]) => {
    const width = (100 * ms) / total;
    x += width;
    return svg`<rect class=${name} x=${x - width} y="0" width=${width} height="8"></rect>`;
  });
  return html`<div class="timing">
    <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">${bars}</svg>
    <ul>${all.map(([name, ms]) => html`<li class=${name}><span class="muted">${name}</span> ${inWords(ms)}</li>`)}</ul>
  </div>`;
}

function inWords(ms) {
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

function actions(cell) {
  const isLoaded = state.models.some(({ name }) => name === cell.request.model);
  return html`<div class="row wrap">
      ${snippets(cell.request, fragmentOf(cell.request)).map(
        ([way]) => html`<button type="button" @click=${() => copy(cell, way)}>
          ${shown.copied === way ? "Copied" : way === "link" ? "Copy link" : `Copy as ${way}`}</button>`,
      )}
      ${cell.image ? html`<button type="button" @click=${() => save(cell)}>Save PNG</button>` : nothing}
    </div>
    ${cell.image && isLoaded
      ? html`<div class="row wrap"><button type="button" class="strong" @click=${() => again(cell)}
            ?disabled=${shown.again && !shown.again.isOver}>Make again</button> ${verdict(cell)}</div>`
      : nothing}`;
}

function again(cell) {
  shown.again = new Run([cell.request], { fresh: true });
  shown.again.start().then(() => announce(verdictOf(cell)));
}

function verdict(cell) {
  const text = verdictOf(cell);
  const kind = text.startsWith("equal") ? "good" : text.startsWith("not") ? "bad" : "";
  return html`<span class="verdict ${kind}">${text}</span>`;
}

function verdictOf(cell) {
  if (!shown.again) return "and compare every byte";
  const [made] = shown.again.cells;
  if (made.problem) return made.problem.detail;
  if (!made.image) return shown.again.state === "waiting" ? shown.again.reason : `step ${made.step} of ${made.steps}`;
  const [a, b] = [cell.image.bytes, made.image.bytes];
  if (a.length !== b.length) return `not equal: ${a.length} bytes were ${b.length} this time`;
  const at = a.findIndex((byte, k) => byte !== b[k]);
  return at < 0 ? "equal, byte for byte" : `not equal: byte ${at} of ${a.length} is the first that differs`;
}

function pressed(event) {
  const moves = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key in moves) turn(moves[event.key]);
}
