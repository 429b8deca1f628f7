// How the gallery looks: its panel, its table, and the place to drop files into when there are none.
// What its rows are and what happens to them, gallery.js knows.
import { openPicture } from "./detail.js";
import { html, nothing } from "./lit-html.js";
import { changed, state } from "./page.js";
import { requestOf } from "./again.js";

const { compare: inOrder } = new Intl.Collator("en", { numeric: true });
const COARSE = 160; // pixels a side up to which a picture is shown in squares, as tiles are

/** The columns that can be sorted by: name in the fragment, heading, what a row sorts by, what it shows. */
const COLUMNS = [
  ["name", "File", (row) => row.name],
  ["verdict", "Verdict", (row) => verdict(row).words],
  ["class", "Class", ({ receipt }) => receipt?.class_id, ({ receipt }) => `${receipt.class_id} ${receipt.class_name}`],
  ["cfg", "cfg", ({ receipt }) => receipt?.cfg],
  ["steps", "Steps", ({ receipt }) => receipt?.steps],
  ["sampler", "Sampler", ({ receipt }) => receipt?.sampler],
  ["seed", "Seed", ({ receipt }) => receipt?.seed],
  ["model", "Model", ({ receipt }) => receipt?.model],
  ["weights", "Weights", ({ receipt }) => receipt?.weights_sha256, ({ receipt }) => receipt.weights_sha256.slice(0, 8)],
  ["version", "Version", ({ receipt }) => receipt?.version],
];

/** Whether a row has all words of the filter. */
export function isShown({ filter }, row) {
  return filter.toLowerCase().split(/\s+/).every((word) => `${row.words} ${row.verdict?.words ?? ""}`.includes(word));
}

/** The gallery in words. */
export function tally({ rows, reading }) {
  const count = (kind) => rows.filter((row) => row.verdict?.kind === kind).length;
  const receipts = rows.filter(({ receipt }) => receipt).length;
  const kinds = { equal: "equal", near: "equal in pixels alone", unequal: "not equal" };
  return [
    `${rows.length} ${rows.length === 1 ? "file" : "files"}, ${receipts} with a receipt`,
    ...Object.entries(kinds).map(([kind, words]) => count(kind) && `${count(kind)} ${words}`),
    reading && `reading ${reading} more`,
  ].filter(Boolean).join(", ");
}

/** The controls beside the table. */
export function galleryPanel(view) {
  const hint = html`<p class="hint whole">Receipts are read in this page: no file leaves it. Make again sends the
    values of receipts alone.</p>`;
  if (!view.rows.length) return hint;
  const filter = ({ target }) => {
    view.filter = target.value;
    changed();
  };
  const wanted = view.wanted();
  const kind = wanted[0]?.isSelected ? "selected" : "shown with a receipt";
  const isBusy = view.run && !view.run.isOver;
  return html`${picker(view)}${hint}
    <div class="field whole"><label for="filter">Filter</label><input id="filter" type="search" autocomplete="off"
      spellcheck="false" placeholder="Words of a name, class, model …" .value=${view.filter} @input=${filter}></div>
    <div class="actions">
      <p class="hint" id="wanted">${wanted.length} of ${view.rows.length} ${kind}</p>
      <div class="row">
        <button type="button" class="strong wide" aria-describedby="wanted" ?disabled=${!wanted.length}
          @click=${() => view.make()}>Make again</button>
        <button type="button" ?disabled=${!isBusy} @click=${() => view.stop()}>Stop</button>
      </div>
    </div>`;
}

/** What is there instead of a table. */
export function dropZone(view) {
  return html`<div class="drop">
    <h2>Drop pictures of this service here</h2>
    <p>Each carries its receipt: class, seed, steps, model. Make them again here, and every byte is compared.</p>
    ${picker(view)}
    <p class="hint">${view.reading ? tally(view) : "Or paste them. Folders are fine, too."}</p>
  </div>`;
}

/** The table. */
export function table(view) {
  const rows = sorted(view, view.rows.filter((row) => isShown(view, row)));
  const usable = rows.filter(({ receipt }) => receipt);
  const selected = usable.filter(({ isSelected }) => isSelected).length;
  const selectAll = ({ target }) => {
    for (const row of usable) row.isSelected = target.checked;
    changed();
  };
  return html`<div class="bar">
      <p>${tally(view)} <span class="fault">${view.note}</span></p>
      <button type="button" @click=${() => view.remove(view.rows)}>Remove all</button>
    </div>
    <div class="files" role="region" aria-label="Files" tabindex="0"><table>
      <thead><tr>
        <th><input type="checkbox" aria-label="Select all" .checked=${selected > 0 && selected === usable.length}
          .indeterminate=${selected > 0 && selected < usable.length} @change=${selectAll}></th>
        <th scope="col">Picture</th>
        ${COLUMNS.map((column) => heading(view, column))}
        <th><span class="unseen">Remove</span></th>
      </tr></thead>
      <tbody>${rows.map((row) => line(view, row, usable))}</tbody>
    </table></div>
    ${rows.length ? nothing : html`<p class="hint">No file has all of these words.</p>`}`;
}

function picker(view) {
  const take = ({ target }) => {
    view.add([...target.files]);
    target.value = ""; // so that the same files can be chosen again
  };
  return html`<label class="picker whole">Add PNGs<input type="file" class="unseen" multiple accept="image/png,.png"
    @change=${take}></label>`;
}

function heading(view, [id, title]) {
  const { by, isDown } = view.sort;
  const sort = () => {
    view.sort = { by: id, isDown: by === id && !isDown };
    changed();
  };
  const order = by !== id ? "none" : isDown ? "descending" : "ascending";
  return html`<th scope="col" aria-sort=${order}><button type="button" @click=${sort}>${title}</button></th>`;
}

function line(view, row, usable) {
  const { name, receipt, url } = row;
  const { kind, words } = verdict(row);
  const select = (event) => {
    row.isSelected = event.target.checked;
    changed();
  };
  const remove = () => view.remove([row]);
  const picture = html`<img alt="" loading="lazy" class=${receipt?.resolution <= COARSE ? "coarse" : ""} src=${url}>`;
  return html`<tr>
    <td>${receipt
      ? html`<input type="checkbox" aria-label="Select ${name}" .checked=${row.isSelected} @change=${select}>`
      : nothing}</td>
    <td>${receipt
      ? html`<button type="button" aria-label="Open ${name}" @click=${() => open(row, usable)}>${picture}</button>`
      : url ? picture : nothing}</td>
    <td class="name">${name}</td>
    <td class="verdict ${kind}">${words || "–"}</td>
    ${COLUMNS.slice(2).map(([id, , value, text = value]) => html`<td class=${id} title=${full(id, receipt)}>${
      receipt ? String(text(row)) : nothing}</td>`)}
    <td><button type="button" class="icon" aria-label="Remove ${name}" @click=${remove}>✕</button></td>
  </tr>`;
}

function full(id, receipt) {
  return (id === "weights" && receipt?.weights_sha256) || nothing;
}

/** How a row stands: its verdict, or how far it is. */
function verdict({ verdict: known, cell }) {
  if (known) return known;
  if (!cell) return { kind: "none", words: "" };
  const { state: stage, problem, step, steps } = cell;
  const words = { failed: problem?.detail || problem?.title, running: `step ${step} of ${steps}` };
  return { kind: stage === "failed" ? "unequal" : "none", words: words[stage] ?? stage };
}

function sorted({ sort: { by, isDown } }, rows) {
  const [, , value] = COLUMNS.find(([id]) => id === by) ?? [];
  if (!value) return rows;
  const places = rows.map((row) => [value(row) ?? "", row]);
  const order = ([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, either way
    const more = typeof a === "string" ? inOrder(a, b) : (a > b) - (a < b);
    return isDown ? -more : more;
  };
  return places.sort(order).map(([, row]) => row);
}

/** Opens a row's picture, large; the arrow keys go through the others that are shown. */
function open(row, rows) {
  const cells = rows.map(cellOf);
  openPicture(cells[rows.indexOf(row)], cells);
}

function cellOf({ bytes, url, receipt }) {
  const { model, class_id, cfg, steps, sampler, seed } = receipt;
  const request = requestOf(receipt, state.models).request ?? { model, class_id, cfg, steps, sampler, seed };
  const image = { bytes, url, receipt, timing: null };
  return { request, state: "done", step: steps, steps, look: "", image, problem: null };
}
