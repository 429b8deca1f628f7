// The fourth view: PNGs of this service that somebody has, what their receipts say, and whether they come out again.
// The files are read in the page and go nowhere; a request has the values of a receipt alone. How receipts are read,
// png.js knows; which rows are seen and how they look, gallery_table.js.
import { requestOf, verdictOf } from "./again.js";
import { listenForFiles } from "./incoming.js";
import { dropZone, galleryPanel, isShown, table, tally } from "./gallery_table.js";
import { html } from "./lit-html.js";
import { announce, changed, state } from "./page.js";
import { MAX_BYTES, PngError, readPng, receiptOf } from "./png.js";
import { Run } from "./run.js";

const MOST_FILES = 1000;
const DRAWN_EVERY = 50; // files that are read; to draw a table of many rows takes longer than to read one

export const gallery = {
  id: "gallery",
  title: "Gallery",
  run: null,
  rows: [],
  filter: "",
  sort: { by: "", isDown: false },
  reading: 0, // files that are not read yet
  note: "", // of what was left out
  isHovered: false,
  comparing: Promise.resolve(), // one picture after the other

  panel() {
    return galleryPanel(this);
  },

  stage() {
    for (const row of this.rows) settle(this, row);
    return html`${this.rows.length ? table(this) : dropZone(this)}
      ${this.isHovered ? html`<div class="hovered" aria-hidden="true">Let go to read their receipts</div>` : ""}`;
  },

  /** Makes what is selected again, or else all that is shown, of what can be made here. */
  make() {
    this.stop();
    const wanted = this.wanted();
    for (const row of wanted) {
      const { request, problem } = requestOf(row.receipt, state.models);
      Object.assign(row, { request, cell: null, verdict: problem ? { kind: "none", words: problem } : null });
    }
    const makeable = wanted.filter(({ request }) => request);
    this.run = new Run(makeable.map(({ request }) => request), { fresh: true });
    makeable.forEach((row, k) => Object.assign(row, { cell: this.run.cells[k] }));
    if (makeable.length) this.run.start();
    else this.run = null;
    changed();
  },

  stop() {
    this.run?.stop();
  },

  /** The rows with receipts that are selected and shown, or else all that are shown. */
  wanted() {
    const shown = this.rows.filter((row) => row.receipt && isShown(this, row));
    const selected = shown.filter(({ isSelected }) => isSelected);
    return selected.length ? selected : shown;
  },

  /** Reads files into rows; those above the most are left out, which is told. */
  async add(files) {
    const room = MOST_FILES - this.rows.length - this.reading;
    const taken = files.slice(0, room);
    const left = files.length - taken.length;
    this.note = left ? `${left} of ${files.length} files were left out: ${MOST_FILES} is the most.` : "";
    this.reading += taken.length;
    for (const file of taken) {
      this.rows.push(await rowOf(file));
      this.reading -= 1;
      if (this.rows.length % DRAWN_EVERY === 0) changed();
    }
    announce(`${this.note} ${tally(this)}`);
    changed();
  },

  /** Forgets rows. */
  remove(rows) {
    const gone = new Set(rows);
    this.rows = this.rows.filter((row) => !gone.has(row));
    for (const { url } of gone) if (url) URL.revokeObjectURL(url);
    this.note = "";
    changed();
  },

  write(params) {
    if (this.filter) params.set("filter", this.filter);
    if (this.sort.by) params.set("sort", (this.sort.isDown ? "-" : "") + this.sort.by);
  },

  read(params) {
    this.filter = params.get("filter") ?? "";
    const [, minus, by] = /^(-?)(\w*)$/.exec(params.get("sort") ?? "") ?? ["", "", ""];
    this.sort = { by, isDown: minus === "-" };
  },
};

async function rowOf(file) {
  const row = { name: file.name, url: "", bytes: null, receipt: null, reason: "", isSelected: false, cell: null };
  try {
    if (file.size > MAX_BYTES) throw new PngError("it is larger than 64 MiB, and no picture of this service is");
    const bytes = new Uint8Array(await file.arrayBuffer());
    const png = readPng(bytes);
    row.url = URL.createObjectURL(file);
    Object.assign(row, { receipt: receiptOf(png), bytes });
  } catch (error) {
    row.reason = error instanceof PngError ? error.message : "it cannot be read";
  }
  row.verdict = row.reason ? { kind: "none", words: row.reason } : null;
  row.words = [row.name, row.reason, ...Object.values(row.receipt ?? {})].join(" ").toLowerCase();
  return row;
}

/** Compares a row with what was made, once it is there. */
function settle(view, row) {
  const { cell } = row;
  if (!cell?.image || row.verdict) return;
  const { bytes } = cell.image;
  row.verdict = { kind: "none", words: "comparing" };
  cell.image = null; // compared once, and then not needed
  view.comparing = view.comparing.then(async () => {
    const verdict = await verdictOf(row.bytes, bytes);
    if (row.cell !== cell) return; // made once more, since
    row.verdict = verdict;
    const isLast = view.run.isOver && view.rows.every((each) => !each.cell || each.verdict?.kind !== "none");
    if (isLast) announce(tally(view));
    changed();
  });
}

listenForFiles({
  most: MOST_FILES,
  take(files) {
    state.tab = gallery.id; // wherever they were dropped
    gallery.add(files);
  },
  hover(isHovered) {
    if (gallery.isHovered === isHovered) return;
    gallery.isHovered = isHovered;
    changed();
  },
});
