// The first view: one class, one to sixteen seeds, and the pictures as they come about.
import { openPicture } from "./detail.js";
import { drawSeed, exactNumber, formFields, MOST_SEED, numberField, put } from "./fields.js";
import { html } from "./lit-html.js";
import { className, state } from "./page.js";
import { Run, secondsOf, stepsOf } from "./run.js";
import { tile } from "./tile.js";

const MOST_IMAGES = 16;

export const make = {
  id: "make",
  title: "Make",
  run: null,

  panel() {
    const set = (value) => put("n", value);
    const bounds = { min: 1, max: MOST_IMAGES, step: 1, slide: [1, MOST_IMAGES, 1] };
    return html`${formFields()} ${numberField({ label: "Images", id: "images", value: state.form.n, set, ...bounds })}`;
  },

  stage() {
    if (!this.run) return empty();
    const { cells } = this.run;
    return html`<div class="grid" data-count=${cells.length > 8 ? "many" : cells.length > 2 ? "some" : "few"}>
      ${cells.map((cell) => tile(cell, { caption: caption(cell), open: (each) => openPicture(each, cells) }))}
    </div>`;
  },

  make({ isAgain = false } = {}) {
    if (!isAgain && !state.isSeedKept) drawSeed();
    this.run = new Run(requests());
    this.run.start();
  },

  stop() {
    this.run?.stop();
  },

  cost() {
    const wanted = requests();
    return { images: wanted.length, sequenceSteps: stepsOf(wanted), seconds: secondsOf(wanted) };
  },

  write(params) {
    params.set("n", state.form.n);
  },

  read(params) {
    const n = exactNumber(params.get("n") ?? "");
    if (Number.isInteger(n) && n >= 1 && n <= MOST_IMAGES) state.form.n = n;
  },
};

function requests() {
  const { n, seed, ...rest } = state.form;
  return Array.from({ length: n }, (_, k) => ({ ...rest, seed: after(seed, k) }));
}

/** The k-th seed from this one on; 0 follows the last. */
function after(seed, k) {
  const next = (BigInt(seed) + BigInt(k)) % (MOST_SEED + 1n);
  return next <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(next) : next;
}

function caption({ request }) {
  return html`<span class="muted">seed</span> ${String(request.seed)}`;
}

function empty() {
  const { form } = state;
  return html`<div class="empty">
    <h2>${className(form.model, form.class_id)}</h2>
    <p>Press <kbd>Enter</kbd>, and ${form.n === 1 ? "a picture comes" : `${form.n} pictures come`} out of the noise.</p>
  </div>`;
}
