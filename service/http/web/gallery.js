// The fourth view: PNGs that somebody has, what their receipts say, and whether they come out again, byte for byte.
// The files are read in the page and go nowhere; a request has the values of a receipt alone.
import { compared, makerOf, requestOf } from "./again.js";
import { openPicture } from "./detail.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, state } from "./page.js";
import { readReceipt } from "./png.js";
import { Run, urlFor } from "./run.js";
import { coarseness } from "./tile.js";

const MOST_FILES = 1000;
const { compare: inOrder } = new Intl.Collator("en", { numeric: true });
const MOST_BYTES = 64 << 20; // of one
const COLUMNS = {
  file: ({ name }) => name, verdict: (row) => verdictOf(row),
  class: ({ receipt }) => `${receipt.class_id} ${receipt.class_name}`,
  cfg: ({ receipt }) => receipt.cfg, steps: ({ receipt }) => receipt.steps, sampler: ({ receipt }) => receipt.sampler,
  seed: ({ receipt }) => receipt.seed, model: ({ receipt }) => receipt.model,
  weights: ({ receipt }) => receipt.weights_sha256.slice(0, 8), version: ({ receipt }) => receipt.version,
};

export const gallery = {
  id: "gallery",
  title: "Gallery",
  verb: "Make again",
  run: null,
  rows: [], // {name, url, bytes, receipt, isSelected, cell, verdict}
  filter: "",
  sort: "file", // with a minus before it: downwards
  note: "", // of what was left out

  panel() {
    const filter = ({ target }) => set({ filter: target.value });
    return html`<div class="field whole">${picker()}
        <p class="hint">Receipts are read in this page; no file is sent anywhere.</p></div>
      <div class="field whole"><label for="filter">Filter</label><input id="filter" type="search" autocomplete="off"
        placeholder="words of a name, class, model …" .value=${this.filter} @input=${filter}></div>
      <button type="button" class="whole" ?disabled=${!this.rows.length} @click=${() => set({ rows: [], note: "" })}>
        Remove all</button>`;
  },

  stage() {
    if (!this.rows.length) {
      return html`<div class="empty drop"><h2>Drop pictures of this service here</h2><p>Each carries its receipt: class,
        seed, steps, model. Make them again, and every byte is compared.</p></div>`;
    }
    const rows = shown();
    const all = ({ target }) => {
      for (const row of rows) row.isSelected = target.checked;
      changed();
    };
    return html`<p>${tally()} <span class="fault">${this.note}</span></p>
      <div class="files" role="region" aria-label="Files" tabindex="0"><table><thead><tr>
        <th><input type="checkbox" aria-label="Select all" @change=${all}
          .checked=${rows.length > 0 && rows.every(({ isSelected }) => isSelected)}></th><th scope="col">picture</th>
        ${Object.keys(COLUMNS).map(heading)}<th><span class="unseen">remove</span></th></tr></thead>
        <tbody>${rows.map((row) => line(row, rows))}</tbody></table></div>`;
  },

  make() {
    const { rows, requests } = this.wanted();
    this.run = new Run(requests, { fresh: true });
    rows.forEach((row, k) => Object.assign(row, { cell: this.run.cells[k], verdict: "" }));
    this.run.start().then(async () => {
      for (const row of rows) row.verdict = await compared(row);
      announce(tally());
      changed();
    });
  },

  /** What is selected, or else all that is shown, as far as it can be made here. */
  wanted() {
    const found = shown();
    const selected = found.filter(({ isSelected }) => isSelected);
    const rows = (selected.length ? selected : found).filter(requestOf);
    return { rows, requests: rows.map(requestOf) };
  },

  write(params) {
    params.set("filter", this.filter);
    params.set("sort", this.sort);
  },

  read(params) {
    this.filter = params.get("filter") ?? "";
    const sort = params.get("sort") ?? "";
    if (sort.replace("-", "") in COLUMNS) this.sort = sort;
  },
};

function set(values) {
  Object.assign(gallery, values);
  changed();
}

async function add(files) {
  const room = MOST_FILES - gallery.rows.length;
  const note = files.length > room ? `${files.length - room} files were left out: ${MOST_FILES} is the most.` : "";
  const rows = await Promise.all(files.slice(0, room).map(rowOf));
  state.tab = gallery.id;
  set({ rows: [...gallery.rows, ...rows], note });
  announce(`${tally()} ${note}`);
}

async function rowOf(file) {
  const row = { name: file.name, url: "", bytes: null, receipt: null, isSelected: false, cell: null, verdict: "" };
  try {
    if (file.size > MOST_BYTES) throw new Error("it is larger than any picture of this service");
    row.bytes = new Uint8Array(await file.arrayBuffer());
    row.receipt = readReceipt(row.bytes);
    row.url = urlFor(row, file);
  } catch (error) {
    row.verdict = error.message;
  }
  row.text = [row.name, row.verdict, ...Object.values(row.receipt ?? {})].join(" ").toLowerCase();
  return row;
}

/** The rows that have all words of the filter, sorted; what has no such value comes last. */
function shown() {
  const words = gallery.filter.toLowerCase().split(/\s+/);
  const rows = gallery.rows.filter((row) => words.every((word) => `${row.text} ${row.verdict}`.includes(word)));
  const by = gallery.sort.replace("-", "");
  const isKnown = ({ receipt }) => receipt || ["file", "verdict"].includes(by);
  const [sign, value] = [by === gallery.sort ? 1 : -1, COLUMNS[by]];
  const order = ([a], [b]) => sign * (typeof a === "string" ? inOrder(a, b) : Number(a > b) - Number(a < b));
  const sorted = rows.filter(isKnown).map((row) => [value(row), row]).sort(order);
  return [...sorted.map(([, row]) => row), ...rows.filter((row) => !isKnown(row))];
}

function tally() {
  const count = (is) => gallery.rows.filter(is).length;
  const [equal, not] = ["equal", "not"].map((word) => count(({ verdict }) => verdict.startsWith(word)));
  return `${count(Boolean)} files, ${count(({ receipt }) => receipt)} with a receipt, ${equal} equal, ${not} not equal`;
}

function verdictOf(row) {
  if (row.verdict || !row.receipt) return row.verdict;
  const { state: word, step, steps } = row.cell ?? {};
  return makerOf(row).problem || (word === "running" ? `step ${step} of ${steps}` : word ?? "");
}

function heading(name) {
  const isUp = gallery.sort === name;
  const order = isUp ? "ascending" : gallery.sort === `-${name}` ? "descending" : "none";
  return html`<th scope="col" aria-sort=${order}><button type="button"
    @click=${() => set({ sort: isUp ? `-${name}` : name })}>${name}</button></th>`;
}

function line(row, rows) {
  const { name, receipt, url } = row;
  const verdict = verdictOf(row);
  const kind = verdict === "equal" ? "good" : verdict.startsWith("not") ? "bad" : "";
  const cells = Object.entries(COLUMNS).map(([key, value]) => html`<td class="${key} ${key === "verdict" ? kind : ""}">
    ${receipt || ["file", "verdict"].includes(key) ? String(value(row)) : nothing}</td>`);
  const select = ({ target }) => changed((row.isSelected = target.checked));
  return html`<tr><td><input type="checkbox" aria-label="Select ${name}" .checked=${row.isSelected}
      @change=${select}></td>
    <td>${url ? html`<button type="button" class="tile" aria-label="Open ${name}" @click=${() => open(row, rows)}>
      <img alt="" loading="lazy" class=${coarseness(receipt.resolution)} src=${url}></button>` : nothing}</td>${cells}
    <td><button type="button" class="icon" aria-label="Remove ${name}"
      @click=${() => set({ rows: gallery.rows.filter((each) => each !== row) })}>✕</button></td></tr>`;
}

function picker() {
  const take = ({ target }) => {
    add([...target.files]);
    target.value = ""; // so that the same files can be chosen again
  };
  return html`<label class="picker">Add PNGs<input type="file" class="unseen" multiple accept="image/png"
    @change=${take}></label>`;
}

function open(row, rows) {
  const readable = rows.filter(({ url }) => url);
  const cells = readable.map((each) => ({ request: requestOf(each) ?? each.receipt, state: "done", image: each }));
  openPicture(cells[readable.indexOf(row)], cells);
}

for (const type of ["dragenter", "dragover", "drop"]) {
  addEventListener(type, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault(); // else the browser would leave the page for the file
    if (type === "drop") add([...event.dataTransfer.files]);
  });
}
addEventListener("paste", ({ clipboardData: { files } }) => files.length && add([...files]));
