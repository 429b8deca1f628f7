// What a sweep asks for: its two axes with their boxes, and the plan that these make with the page's form.
// Knows what is chosen and typed; what the texts mean is told by axes.js, and what is made of them sweep.js knows.
import { AXES, exampleOf, labelOf, modelsOf, planSweep } from "./axes.js";
import { formFields, selectField, textField } from "./fields.js";
import { html, nothing } from "./lit-html.js";
import { changed, classesOf, knownClasses, modelNamed, state } from "./page.js";

const STEPS = [5, 10, 20, 50]; // that are worth a look
const CLASSES = 8;

const chosen = { x: "cfg", y: "seed", texts: {} }; // texts: what was typed, by axis
const asked = new Set(); // models whose class names are here or on their way

/** The controls: X and Y, and the fields of what is not varied. */
export function sweepPanel() {
  const { problems } = planned();
  const varied = new Set([chosen.x, chosen.y].filter(Boolean).map((axis) => AXES[axis].field));
  return html`${axisFields("x", "X", problems.x)}${axisFields("y", "Y", problems.y)}${formFields(varied)}`;
}

/** What would be made now: the plan of axes.js, with x, y, models and the form as it is. */
export function planned() {
  const { x, y } = chosen;
  const form = { ...state.form };
  const wish = { x, y, texts: { [x]: textOf(x), [y]: textOf(y) }, form };
  const models = modelsOf(wish, catalogue());
  models.forEach(learnClasses);
  return { x, y, form, models, ...planSweep(wish, catalogue()) };
}

/** How a value of an axis is called. */
export function labelFor(axis, value, models) {
  return labelOf(axis, value, models, catalogue());
}

/** Writes the axes into the fragment. */
export function writeAxes(params) {
  for (const side of ["x", "y"]) {
    params.set(side, chosen[side]);
    if (chosen[side]) params.set(`${side}v`, textOf(chosen[side]));
  }
}

/** Takes the axes from the fragment, as far as it has any. */
export function readAxes(params) {
  for (const side of ["x", "y"]) {
    const axis = params.get(side);
    if (axis in AXES || (axis === "" && side === "y")) chosen[side] = axis;
    if (axis in AXES && params.has(`${side}v`)) chosen.texts[axis] = params.get(`${side}v`);
  }
}

function put(values) {
  Object.assign(chosen, values);
  changed();
}

function catalogue() {
  return { models: state.models, classes: knownClasses };
}

function learnClasses({ name }) {
  if (asked.has(name)) return;
  asked.add(name);
  classesOf(name).catch(() => asked.delete(name));
}

/** What stands in an axis's box: what was typed, else values that are worth a look. */
function textOf(axis) {
  const model = modelNamed(state.form.model);
  if (axis in chosen.texts || !model) return chosen.texts[axis] ?? "";
  if (axis === "cfg") return model.can_guide ? "1,2,4,8" : "1";
  if (axis === "steps") return STEPS.filter((steps) => steps <= model.max_steps).join(",") || "1";
  if (axis === "seed") return "0..3";
  if (axis === "class") return `0..${Math.min(model.num_classes, CLASSES) - 1}`;
  return axis ? exampleOf(axis, [model], catalogue()) : "";
}

function axisFields(side, label, problem) {
  const axis = chosen[side];
  const options = Object.entries(AXES).map(([name, { title }]) => [name, title]);
  if (side === "y") options.unshift(["", "Nothing"]);
  const id = `sweep-${side}`;
  const hint = axis && `such as ${exampleOf(axis, planned().models, catalogue())}`;
  const set = (text) => put({ texts: { ...chosen.texts, [axis]: text } });
  const values = { label: `${label} values`, id: `${id}-values`, value: textOf(axis), set, hint, problem };
  return html`<div class="axis">
    ${selectField({ label, id, value: axis, options, set: (name) => choose(side, name) })}
    ${side === "y" ? swapButton() : nothing}
    ${axis ? textField(values) : nothing}
  </div>`;
}

function swapButton() {
  const swap = () => put({ x: chosen.y, y: chosen.x });
  return html`<button type="button" class="icon swap" aria-label="Swap X and Y" title="Swap X and Y"
    ?disabled=${!chosen.y} @click=${swap}>⇅</button>`;
}

/** Chooses an axis; if the other side has that one, it takes what this side had. */
function choose(side, axis) {
  const other = side === "x" ? "y" : "x";
  const isTaken = axis === chosen[other] && chosen[side] !== "";
  put({ [side]: axis, ...(isTaken && { [other]: chosen[side] }) });
}
