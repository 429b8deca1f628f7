// The controls of a request. Each is a labelled control that tells its new value.
import { classField } from "./classes.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, classesOf, fitForm, modelNamed, state } from "./page.js";

export const MOST_SEED = 2n ** 63n - 1n;
const CFG = { min: 1, max: 20, step: "any", slide: [1, 10, 0.25] };
const MOST_SLIDING_STEPS = 250;

/** A number, with a slider of [least, most, step] beside it if `slide` says so. */
export function numberField({ label, value, min, max, step = 1, set, id, slide, isOff, beside = nothing }) {
  const take = ({ target }) => {
    const number = exactNumber(target.value);
    if (isFine(number, min, max, step)) set(number);
  };
  const settle = ({ target }) => { // what may not be is put back, and said
    if (!isFine(exactNumber(target.value), min, max, step)) announce(`${label}: ${min} to ${max}`);
    target.value = String(value);
  };
  const slider = () => html`<input type="range" aria-label="${label} slider" min=${slide[0]} max=${slide[1]}
    step=${slide[2]} .value=${String(value)} ?disabled=${isOff} @input=${take}>`;
  return html`<div class="field"><label for=${id}>${label}</label><div class="row">
    <input id=${id} type="number" .value=${String(value)} min=${min} max=${String(max)} step=${step}
      ?disabled=${isOff} @input=${take} @change=${settle}>${slide ? slider() : beside}</div></div>`;
}

/** One of several: options are [value, text]. */
export function selectField({ label, value, options, set, id }) {
  return html`<div class="field"><label for=${id}>${label}</label>
    <select id=${id} @change=${({ target }) => set(target.value)}>
      ${options.map(([each, text]) => html`<option value=${each} .selected=${each === value}>${text}</option>`)}
    </select></div>`;
}

/** A text, with a hint, and in its place what is wrong with it. */
export function textField({ label, value, set, id, hint, problem }) {
  return html`<div class="field"><label for=${id}>${label}</label>
    <input id=${id} type="text" autocomplete="off" spellcheck="false" .value=${value}
      aria-invalid=${String(Boolean(problem))} aria-describedby="${id}-hint"
      @input=${({ target }) => set(target.value)}>
    <p id="${id}-hint" class=${problem ? "fault" : "hint"}>${problem || hint}</p></div>`;
}

/** One of the loaded models. */
export function modelField({ label = "Model", id = "model", value = state.form.model, set = to("model") } = {}) {
  const options = state.models.map(({ name, resolution }) => [name, `${name} · ${resolution} px`]);
  return selectField({ label, id, value, options, set });
}

/** The fields of a request but those named; a change goes into the page's form. */
export function formFields(except = new Set()) {
  const { form } = state;
  const { can_guide, max_steps: max, samplers } = modelNamed(form.model);
  const field = (label, name, bounds) => numberField({ label, id: name, value: form[name], set: to(name), ...bounds });
  const slide = [1, Math.min(max, MOST_SLIDING_STEPS), 1];
  const options = samplers.map((name) => [name, name]);
  const keep = ({ target }) => {
    state.isSeedKept = target.checked;
    changed();
  };
  const beside = html`<label class="check" title="Without it, every Make draws another seed (l)"><input id="keep-seed"
    type="checkbox" .checked=${state.isSeedKept} @change=${keep}> keep</label>`;
  const fields = {
    class_id: () => classField({ form, set: to("class_id") }),
    cfg: () => field("Guidance scale", "cfg", { ...CFG, isOff: !can_guide }),
    steps: () => field("Steps", "steps", { min: 1, max, slide }),
    sampler: () => selectField({ label: "Sampler", id: "sampler", value: form.sampler, options, set: to("sampler") }),
    model: () => modelField(),
    seed: () => field("Seed", "seed", { min: 0, max: MOST_SEED, beside }),
  };
  return Object.keys(fields).filter((name) => !except.has(name)).map((name) => fields[name]());
}

/** Puts a value into the page's form. */
export function put(name, value) {
  state.form[name] = value;
  if (name === "seed") state.isSeedKept = true; // who chooses one wants that one
  if (name === "model") {
    fitForm();
    classesOf(value);
  }
  changed();
}

/** A whole or decimal number, a BigInt where it would not be exact otherwise; null if the text is none. */
export function exactNumber(text) {
  if (/^\d+$/.test(text)) return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
  return /^\d*\.?\d+(e-?\d+)?$/i.test(text) ? Number(text) : null;
}

/** Whether a number is within bounds, and whole where the step says so. */
export function isFine(number, min, max, step = 1) {
  return number !== null && number >= min && number <= max && (step === "any" || Number.isInteger(Number(number)));
}

/** Draws a seed. */
export function drawSeed() {
  [state.form.seed] = crypto.getRandomValues(new Uint32Array(1));
  changed();
}

function to(name) {
  return (value) => put(name, value);
}
