// The second view: two values are varied, one across and one down, and every picture of the table is made in one batch.
// Knows what was last made, and how it is shown and saved; what is wanted, sweep_panel.js knows.
import { AXES } from "./axes.js";
import { openPicture } from "./detail.js";
import { drawSeed } from "./fields.js";
import { fragment } from "./fragment.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, modelNamed, state } from "./page.js";
import { Run, secondsOf, stepsOf } from "./run.js";
import { drawSheet } from "./sheet.js";
import { labelFor, planned, readAxes, sweepPanel, writeAxes } from "./sweep_panel.js";
import { tile } from "./tile.js";

const SIZES = { s: "Small", m: "Medium", l: "Large" };

const shown = { size: "m", isSaving: false };

export const sweep = {
  id: "sweep",
  title: "Sweep",
  run: null,
  made: null, // the plan that the run is of

  panel: sweepPanel,

  stage() {
    const plan = this.made ?? planned();
    if (plan.columns.length === 0) return html`<p class="empty">Every value of X with every value of Y.</p>`;
    return html`${bar()}
      <div class="sweep-box" data-size=${shown.size} role="region" aria-label="Table of pictures" tabindex="0"
        @focusin=${reveal}>
        ${table(plan, this.run?.cells)}
      </div>`;
  },

  make({ isAgain = false } = {}) {
    const { x, y } = planned();
    if (!isAgain && !state.isSeedKept && ![x, y].includes("seed")) drawSeed();
    this.made = planned();
    this.run = new Run(this.made.requests);
    this.run.start();
  },

  stop() {
    this.run?.stop();
  },

  cost() {
    const { requests, problems } = planned();
    if (problems.x || problems.y) return { problem: `The ${problems.x ? "X" : "Y"} values are not right yet.` };
    if (problems.whole) return { problem: problems.whole };
    return { images: requests.length, sequenceSteps: stepsOf(requests), seconds: secondsOf(requests) };
  },

  write(params) {
    writeAxes(params);
    params.set("size", shown.size);
  },

  read(params) {
    readAxes(params);
    if (params.get("size") in SIZES) shown.size = params.get("size");
  },

  /** The contact sheet of what was last made, as sheet.js takes it. */
  sheet() {
    const { x, y, columns, rows, models, form } = this.made;
    const fixed = { model: form.model, class: labelFor("class", form.class_id, models), cfg: `cfg ${form.cfg}` };
    Object.assign(fixed, { steps: `${form.steps} steps`, sampler: form.sampler, seed: `seed ${form.seed}` });
    return {
      title: Object.entries(fixed).filter(([axis]) => axis !== x && axis !== y).map(([, text]) => text),
      xTitle: AXES[x].title,
      yTitle: y ? AXES[y].title : "",
      columns: columns.map((value) => labelFor(x, value, models)),
      rows: rows.map((value) => (y ? labelFor(y, value, models) : "")),
      cells: this.run.cells.map(({ request, image, state: word }) => ({
        side: image?.receipt.resolution ?? modelNamed(request.model).resolution,
        bytes: image?.bytes ?? null,
        word,
      })),
    };
  },
};

function table({ x, y, columns, rows, models }, cells) {
  const picture = (k) => tile(cells[k], { caption: nothing, open: (cell) => openPicture(cell, cells) });
  const row = (value, k) => html`<tr>
    ${y ? html`<th scope="row"><span>${labelFor(y, value, models)}</span></th>` : nothing}
    ${columns.map((_, column) => html`<td>${cells ? picture(k * columns.length + column) : blank}</td>`)}
  </tr>`;
  return html`<table>
    <thead>
      <tr>${y ? html`<td rowspan="2"><span>${AXES[y].title}</span></td>` : nothing}
        <th scope="colgroup" colspan=${columns.length}><span>${AXES[x].title}</span></th></tr>
      <tr>${columns.map((value) => html`<th scope="col"><span>${labelFor(x, value, models)}</span></th>`)}</tr>
    </thead>
    <tbody>${rows.map(row)}</tbody>
  </table>`;
}

/** Brings a tile that the keyboard went to out from under the headers. */
function reveal({ target }) {
  if (target.matches(".tile:focus-visible")) target.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const blank = html`<span class="blank"></span>`;

/** The bar above the table: how large its pictures are, and the way to save them together. */
function bar() {
  const { run } = sweep;
  const canSave = run?.isOver && run.cells.some(({ image }) => image) && !shown.isSaving;
  return html`<div class="row spread">
    <fieldset class="sizes"><legend class="unseen">Size of pictures</legend>
      ${Object.entries(SIZES).map(sizeButton)}</fieldset>
    <button type="button" ?disabled=${!canSave} @click=${save}>Save contact sheet</button>
  </div>`;
}

function sizeButton([size, title]) {
  return html`<label title="${title} pictures">
    <input type="radio" name="size" .checked=${shown.size === size} @change=${() => resize(size)}>
    <span aria-hidden="true">${size.toUpperCase()}</span><span class="unseen">${title}</span>
  </label>`;
}

/** Shows the pictures in another size; they are still those that the URL would make. */
function resize(size) {
  const isMade = sweep.run && fragment(sweep, true) === sweep.madeAs;
  shown.size = size;
  if (isMade) sweep.madeAs = fragment(sweep, true);
  changed();
}

async function save() {
  shown.isSaving = true;
  changed();
  try {
    const url = URL.createObjectURL(await drawSheet(sweep.sheet()));
    const download = `sweep-${[sweep.made.x, sweep.made.y].filter(Boolean).join("-")}.png`;
    Object.assign(document.createElement("a"), { href: url, download }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // some browsers read it after the click
    announce("The contact sheet is saved.");
  } catch (error) {
    state.notice = error.message;
  }
  shown.isSaving = false;
  changed();
}
