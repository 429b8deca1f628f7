// The second view: every value of X with every value of Y, as one table of pictures and as one PNG.
import { AXES, planOf } from "./axes.js";
import { labelOf } from "./classes.js";
import { openPicture, save } from "./detail.js";
import { drawSeed, formFields, selectField, textField } from "./fields.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, classesOf, modelNamed, state } from "./page.js";
import { Run } from "./run.js";
import { drawSheet } from "./sheet.js";
import { tile } from "./tile.js";

const SIZES = { s: "Small", m: "Medium", l: "Large" };

export const sweep = {
  id: "sweep",
  title: "Sweep",
  run: null,
  made: null, // the plan that the run is of
  x: "cfg",
  y: "seed", // "" for one row
  texts: {}, // what was typed, by axis
  size: "m",
  unmade: ["size"], // entries of the fragment that no picture depends on

  panel() {
    const { problems } = this.wanted();
    const varied = [this.x, this.y].filter(Boolean).map((axis) => AXES[axis].field);
    return html`${axisFields("x", problems.x)}${axisFields("y", problems.y)}${formFields(new Set(varied))}`;
  },

  stage() {
    const plan = this.run ? this.made : this.wanted();
    const { x, y, columns, rows } = plan;
    const cells = this.run?.cells;
    const at = (k) => cells
      ? tile(cells[k], { caption: nothing, open: (cell) => openPicture(cell, cells) })
      : html`<span class="blank"></span>`;
    if (!columns.length || !rows.length) return html`<p class="empty">Every value of X with every value of Y.</p>`;
    return html`<div class="row spread">${sizes()}
        <button type="button" ?disabled=${!this.run?.isOver} @click=${saveSheet}>Save contact sheet</button></div>
      <div class="sweep-box ${this.size}" role="region" aria-label="Table of pictures" tabindex="0"><table>
        <thead><tr>${y ? html`<td rowspan="2">${AXES[y].title}</td>` : nothing}
            <th scope="colgroup" colspan=${columns.length}>${AXES[x].title}</th></tr>
          <tr>${columns.map((value) => html`<th scope="col">${label(x, value, plan)}</th>`)}</tr></thead>
        <tbody>${rows.map((row, k) => html`<tr>
          ${y ? html`<th scope="row">${label(y, row, plan)}</th>` : nothing}
          ${columns.map((_, j) => html`<td>${at(k * columns.length + j)}</td>`)}</tr>`)}</tbody>
      </table></div>`;
  },

  make({ isAgain = false } = {}) {
    if (!isAgain && !state.isSeedKept && ![this.x, this.y].includes("seed")) drawSeed();
    this.made = this.wanted();
    this.run = new Run(this.made.requests);
    this.run.start();
  },

  wanted() {
    const { x, y } = this;
    const form = { ...state.form };
    const plan = planOf({ x, y, texts: { [x]: textOf(x), [y]: textOf(y) }, form });
    for (const { name } of plan.models) classesOf(name);
    const { problems } = plan;
    const problem = problems.whole || ((problems.x || problems.y) && "Some values are not right yet.");
    return { ...plan, x, y, form, problem };
  },

  write(params) {
    for (const side of ["x", "y"]) {
      params.set(side, this[side]);
      if (this[side]) params.set(`${side}v`, textOf(this[side]));
    }
    params.set("size", this.size);
  },

  read(params) {
    for (const side of ["x", "y"]) {
      const axis = params.get(side);
      if (axis in AXES || (side === "y" && axis === "")) this[side] = axis;
      if (axis in AXES && params.has(`${side}v`)) this.texts[axis] = params.get(`${side}v`);
    }
    if (params.get("size") in SIZES) this.size = params.get("size");
  },
};

function set(values) {
  Object.assign(sweep, values);
  changed();
}

/** What stands in an axis's box: what was typed, else values that are worth a look. */
function textOf(axis) {
  const { can_guide, max_steps, num_classes, samplers } = modelNamed(state.form.model);
  const worth = {
    cfg: can_guide ? "1,2,4,8" : "1",
    steps: [5, 10, 20, 50].filter((steps) => steps <= max_steps).join() || "1",
    sampler: samplers.join(),
    seed: "0..3",
    class: `0..${Math.min(num_classes, 8) - 1}`,
    model: state.models.map(({ name }) => name).join(),
  };
  return sweep.texts[axis] ?? worth[axis];
}

function axisFields(side, problem) {
  const [axis, other] = side === "x" ? [sweep.x, "y"] : [sweep.y, "x"];
  const options = Object.entries(AXES).map(([name, { title }]) => [name, title]);
  if (side === "y") options.unshift(["", "Nothing"]);
  const name = side.toUpperCase();
  const choose = (chosen) => { // who takes the other side's axis exchanges them
    if (chosen && chosen === sweep[other]) sweep[other] = axis || "cfg";
    set({ [side]: chosen });
  };
  const type = (text) => set({ texts: { ...sweep.texts, [axis]: text } });
  const values = { label: `${name} values`, id: `${side}-values`, value: textOf(axis), set: type, problem };
  return html`<div class="axis whole">${selectField({ label: name, id: side, value: axis, options, set: choose })}
    ${axis ? textField({ ...values, hint: AXES[axis].example }) : nothing}
    ${side === "y" && axis ? html`<button type="button" class="icon swap" aria-label="Exchange X and Y"
      title="Exchange X and Y" @click=${() => set({ x: sweep.y, y: sweep.x })}>⇅</button>` : nothing}</div>`;
}

function label(axis, value, { models }) {
  return axis === "class" ? labelOf({ model: models[0].name, class_id: value }) : String(value);
}

function sizes() {
  return html`<fieldset class="sizes"><legend class="unseen">Size of pictures</legend>
    ${Object.entries(SIZES).map(([size, title]) => html`<label><input type="radio" name="size"
      aria-label=${title} .checked=${sweep.size === size} @change=${() => set({ size })}>
      ${title[0]}</label>`)}</fieldset>`;
}

async function saveSheet() {
  const { made: plan, run } = sweep;
  const { x, y, form } = plan;
  const fixed = Object.entries(AXES).filter(([axis]) => axis !== x && axis !== y);
  const url = URL.createObjectURL(await drawSheet({
    title: fixed.map(([axis, { title, field }]) => `${title} ${label(axis, form[field], plan)}`).join(", "),
    axes: [AXES[x].title, AXES[y]?.title ?? ""],
    columns: plan.columns.map((value) => label(x, value, plan)),
    rows: plan.rows.map((value) => (y ? label(y, value, plan) : "")),
    cells: run.cells,
  }));
  save(url, `sweep-${x}${y && `-${y}`}.png`);
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // some browsers read it after the click
  announce("The contact sheet is saved.");
}
