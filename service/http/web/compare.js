// The third view: two models side by side, of the same classes and seeds, and in which pixels they differ. As long as
// Flicker is held, the right pictures stand in the places of the left ones; never by itself (WCAG 2.3.1).
import { excess, lackOf, valuesOf } from "./axes.js";
import { openCell, openPicture } from "./detail.js";
import { formFields, modelField, put, selectField, textField } from "./fields.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, className, classesOf, modelNamed, state } from "./page.js";
import { difference } from "./pixels.js";
import { Run } from "./run.js";
import { tile } from "./tile.js";

const FACTORS = [1, 4, 16];

export const compare = {
  id: "compare",
  title: "Compare",
  run: null,
  right: "", // name of a model; the first that is not the left one if there is none of it
  classes: null, // as written; null is the form's class
  seeds: "0..3",
  factor: 4, // of the difference pictures
  unmade: ["factor"],
  isHeld: false,
  isByPointer: false, // so came the focus: Space is not meant for what has it
  found: new Map(), // how a pair differs, by its right cell

  panel() {
    const [left, right] = sides();
    const { problems } = this.wanted();
    const list = (name, label, value, hint) => textField({
      label, id: name, value, hint, problem: problems[name], set: (text) => set({ [name]: text }),
    });
    if (!right) return nothing;
    const choose = (one, other) => { // who takes the other side's model exchanges them
      set({ right: one === other ? left.name : other });
      put("model", one === other && one === left.name ? right.name : one);
    };
    const [setLeft, setRight] = [(name) => choose(name, right.name), (name) => choose(left.name, name)];
    return html`${modelField({ label: "Left model", id: "left", value: left.name, set: setLeft })}
      ${modelField({ label: "Right model", id: "right", value: right.name, set: setRight })}
      ${list("classes", "Classes", classesText(), "Ids, ranges as 0..3, or names")}
      ${list("seeds", "Seeds", this.seeds, "Such as 0..3 or 5,99")}
      ${formFields(new Set(["model", "class_id", "seed"]))}`;
  },

  stage() {
    const [left, right] = sides();
    if (!this.run) {
      return html`<div class="empty"><h2>${left.name} and ${right?.name ?? "another one"}</h2><p>Press <kbd>Enter</kbd>
        to see them side by side, then hold <kbd>Space</kbd> to see one in the other's place.</p></div>`;
    }
    const pairs = pairsOf(this.run);
    const hold = (isHeld) => () => set({ isHeld });
    const setFactor = (value) => set({ factor: Number(value) });
    return html`<div class="bar"><p>${summary(pairs)}</p>
        ${selectField({ label: "Difference", id: "factor", value: String(this.factor), set: setFactor,
          options: FACTORS.map((each) => [String(each), `× ${each}`]) })}
        <button type="button" class="flicker" aria-pressed=${String(this.isHeld)} title="Hold it, or Space"
          @pointerdown=${({ button }) => button || hold(true)()} @pointerup=${hold(false)} @pointerleave=${hold(false)}
          @click=${({ detail }) => detail || hold(!this.isHeld)()}>Flicker</button></div>
      <ul class="trios">${pairs.map((pair) => trio(pair, this.run.cells))}</ul>`;
  },

  make() {
    this.found = new Map();
    this.run = new Run(this.wanted().requests);
    this.run.start();
  },

  /** Left and right in turn. */
  wanted() {
    const [left, right] = sides();
    const lack = `Two models are needed: start the service with --models ${left.name},OTHER.`;
    if (!right) return { requests: [], problem: lack, problems: {} };
    const both = [left, right];
    for (const { name } of both) classesOf(name);
    let classes = valuesOf("class", classesText(), [left]); // names are the left model's
    if (!classes.problem) classes = valuesOf("class", classes.values.join(","), both);
    const seeds = valuesOf("seed", this.seeds, both);
    const { n, ...form } = state.form;
    const requests = classes.values.flatMap((class_id) => seeds.values.flatMap((seed) =>
      both.map(({ name }) => ({ ...form, model: name, class_id, seed }))));
    const problem = lackOf(form, ["class", "seed"], both) || excess(requests.length);
    const problems = { classes: classes.problem, seeds: seeds.problem };
    const isWrong = problems.classes || problems.seeds;
    if (!problem && !isWrong) return { requests, problems };
    return { requests: [], problem: problem || "Some values are not right yet.", problems };
  },

  write(params) {
    params.set("right", sides()[1]?.name ?? "");
    params.set("classes", classesText());
    for (const name of ["seeds", "factor"]) params.set(name, this[name]);
  },

  read(params) {
    for (const name of ["right", "classes", "seeds"]) this[name] = params.get(name) ?? this[name];
    if (FACTORS.includes(Number(params.get("factor")))) this.factor = Number(params.get("factor"));
  },
};

function set(values) {
  Object.assign(compare, values);
  changed();
}

function classesText() {
  return compare.classes ?? String(state.form.class_id);
}

function sides() {
  const left = modelNamed(state.form.model);
  const others = state.models.filter((model) => model !== left);
  return [left, others.find(({ name }) => name === compare.right) ?? others[0]];
}

function pairsOf({ cells }) {
  return cells.flatMap((cell, k) => (k % 2 ? [[cells[k - 1], cell]] : []));
}

function summary(pairs) {
  const known = pairs.map(([, right]) => compare.found.get(right)).filter((each) => each?.of);
  const same = known.filter((each) => !each.differ).length;
  return `${known.length} of ${pairs.length} pairs compared: ${same} without a difference`;
}

function trio([left, right], cells) {
  const result = resultOf(left, right);
  const shown = compare.isHeld && right.image ? right : left;
  const names = [left, right].map(({ request }) => className(request.model, request.class_id));
  const side = (cell, { image, request }) => html`<div role="group" aria-label=${cell.request.model}>
    ${tile({ ...cell, image }, { caption: nothing, open: () => openPicture(cell, cells) })}
    <span class="caption">${request.model}</span></div>`;
  const { differ, of, largest, problem, canvas } = result ?? {};
  const most = differ ? `, by ${largest} of 255 at most` : "";
  const words = problem ?? (of ? `${differ} of ${of} pixels differ${most}` : "");
  const seed = String(left.request.seed);
  return html`<li><h2>${[...new Set(names)].join(" | ")} <span class="muted">seed ${seed}</span></h2>
    <div class="trio">
      ${side(left, shown)} ${side(right, right)}
      <div><span class="frame coarse">${canvas ?? nothing}</span>
        <span class="caption">difference × ${compare.factor}</span></div>
    </div><p>${words}</p></li>`;
}

/** How a pair differs, as far as it is known; asks for it where it is not. */
function resultOf({ image: one }, right) {
  const { found, factor } = compare;
  if (!one || !right.image) return null;
  if (found.get(right)?.factor !== factor) {
    found.set(right, { ...found.get(right), factor });
    difference(one.bytes, right.image.bytes, factor).then((result) => {
      if (found.get(right).factor === factor) found.set(right, { ...result, factor });
      const pairs = pairsOf(compare.run);
      if (pairs.every(([, each]) => found.get(each)?.canvas)) announce(summary(pairs));
      changed();
    });
  }
  return found.get(right);
}

for (const type of ["keydown", "keyup"]) {
  addEventListener(type, (event) => {
    if (event.key === "Tab") compare.isByPointer = false;
    const isElsewhere = event.target.closest?.(`input, select${compare.isByPointer ? "" : ", button:not(.flicker)"}`);
    if (event.key !== " " || state.tab !== compare.id || !compare.run || openCell() || isElsewhere) return;
    event.preventDefault(); // neither a click nor scrolling
    set({ isHeld: type === "keydown" });
  });
}
addEventListener("pointerdown", () => (compare.isByPointer = true), true);
addEventListener("blur", () => compare.isHeld && set({ isHeld: false }));
