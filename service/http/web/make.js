// The first view: one class, one to sixteen seeds, and the pictures as they come about.
import { openPicture } from "./detail.js";
import { drawSeed, exactNumber, formFields, isFine, MOST_SEED, numberField, put } from "./fields.js";
import { html } from "./lit-html.js";
import { className, state } from "./page.js";
import { Run } from "./run.js";
import { tile } from "./tile.js";

const MOST_IMAGES = 16;

export const make = {
  id: "make",
  title: "Make",
  run: null,

  panel() {
    const bounds = { min: 1, max: MOST_IMAGES, slide: [1, MOST_IMAGES, 1] };
    const set = (value) => put("n", value);
    return html`${formFields()} ${numberField({ label: "Images", id: "images", value: state.form.n, set, ...bounds })}`;
  },

  stage() {
    const { form } = state;
    if (!this.run) {
      return html`<div class="empty"><h2>${className(form.model, form.class_id)}</h2>
        <p>Press <kbd>Enter</kbd>, and ${form.n === 1 ? "a picture comes" : `${form.n} pictures come`} out of noise.</p>
      </div>`;
    }
    const { cells } = this.run;
    const caption = ({ request }) => html`<span class="muted">seed</span> ${String(request.seed)}`;
    const open = (cell) => openPicture(cell, cells);
    return html`<div class="grid ${cells.length > 8 ? "many" : cells.length > 2 ? "some" : "few"}">
      ${cells.map((cell) => tile(cell, { caption: caption(cell), open }))}</div>`;
  },

  make({ isAgain = false } = {}) {
    if (!isAgain && !state.isSeedKept) drawSeed();
    this.run = new Run(this.wanted().requests);
    this.run.start();
  },

  wanted() {
    const { n, seed, ...rest } = state.form;
    const seeds = Array.from({ length: n }, (_, k) => (BigInt(seed) + BigInt(k)) % (MOST_SEED + 1n));
    return { requests: seeds.map((each) => ({ ...rest, seed: exactNumber(String(each)) })) };
  },

  write(params) {
    params.set("n", state.form.n);
  },

  read(params) {
    const n = exactNumber(params.get("n") ?? "");
    if (isFine(n, 1, MOST_IMAGES)) state.form.n = n;
  },
};
