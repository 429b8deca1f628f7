// The controls of a request. Each is a labelled control that tells its new value; what it means, its view knows.
import { classField } from "./class_field.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, classesOf, fitForm, modelNamed, state } from "./page.js";

const MOST_SLIDING_STEPS = 250;
export const MOST_SEED = 2n ** 63n - 1n;

/** A number, with a slider beside it where `slide` says [least, most, step]. */
export function numberField({ label, value, min, max, step, set, id, slide, isOff }) {
  const take = (event) => {
    const number = exactNumber(event.target.value);
    if (number !== null && number >= min && number <= max) set(number);
  };
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <div class="row">
      <input id=${id} type="number" .value=${String(value)} min=${min} max=${max} step=${step} ?disabled=${isOff}
        @input=${take} @change=${(event) => settle(event.target, value, `${label}: ${min} to ${max}`)}>
      ${slide
        ? html`<input type="range" aria-label="${label} slider" min=${slide[0]} max=${slide[1]} step=${slide[2]}
            .value=${String(value)} ?disabled=${isOff} @input=${take}>`
        : nothing}
    </div>
  </div>`;
}

/** One of several: options are [value, text]. */
export function selectField({ label, value, options, set, id }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <select id=${id} @change=${(event) => set(event.target.value)}>
      ${options.map(([each, text]) => html`<option value=${each} .selected=${each === value}>${text}</option>`)}
    </select>
  </div>`;
}

/** A text, with a hint, and in its place what is wrong with it. */
export function textField({ label, value, set, id, hint, problem }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} type="text" autocomplete="off" spellcheck="false" .value=${value}
      aria-invalid=${problem ? "true" : "false"} aria-describedby="${id}-hint"
      @input=${(event) => set(event.target.value)}>
    <p id="${id}-hint" class=${problem ? "fault" : "hint"}>${problem || hint || ""}</p>
  </div>`;
}

/** The fields of a request but those named; a change goes into the page's form. */
export function formFields(except = new Set()) {
  const { form } = state;
  const model = modelNamed(form.model);
  if (!model) return nothing;
  const fields = {
    class_id: () => classField({ form, set: (value) => put("class_id", value) }),
    cfg: () => cfgField(model),
    steps: () => stepsField(model),
    sampler: () => samplerField(model),
    model: () => modelField(),
    seed: () => seedField(),
  };
  return Object.entries(fields).filter(([name]) => !except.has(name)).map(([, field]) => field());
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
  return /^-?\d*\.?\d+(e-?\d+)?$/i.test(text) ? Number(text) : null;
}

/** A seed that nobody has chosen. */
export function drawSeed() {
  state.form.seed = crypto.getRandomValues(new Uint32Array(1))[0];
  changed();
}

/** Puts back what holds, and says what is allowed, where something else was typed. */
function settle(input, value, allowed) {
  if (input.value === String(value)) return;
  if (exactNumber(input.value) !== value) announce(allowed);
  input.value = String(value);
}

function cfgField(model) {
  const set = (value) => put("cfg", value);
  const bounds = { min: 1, max: 20, step: "any", slide: [1, 10, 0.25], isOff: !model.can_guide };
  return numberField({ label: "Guidance scale", id: "cfg", value: state.form.cfg, set, ...bounds });
}

function stepsField({ max_steps: max }) {
  const set = (value) => put("steps", value);
  const slide = [1, Math.min(max, MOST_SLIDING_STEPS), 1];
  return numberField({ label: "Steps", id: "steps", value: state.form.steps, min: 1, max, step: 1, slide, set });
}

function samplerField({ samplers }) {
  const options = samplers.map((name) => [name, name]);
  const set = (value) => put("sampler", value);
  return selectField({ label: "Sampler", id: "sampler", value: state.form.sampler, options, set });
}

function modelField() {
  const options = state.models.map(({ name, resolution }) => [name, `${name} · ${resolution} px`]);
  const set = (value) => put("model", value);
  return selectField({ label: "Model", id: "model", value: state.form.model, options, set });
}

function seedField() {
  const take = (event) => {
    const seed = exactNumber(event.target.value);
    if (seed !== null && Number.isInteger(Number(seed)) && seed >= 0 && BigInt(seed) <= MOST_SEED) put("seed", seed);
  };
  const keep = (event) => {
    state.isSeedKept = event.target.checked;
    changed();
  };
  return html`<div class="field">
    <label for="seed">Seed</label>
    <div class="row">
      <input id="seed" type="number" min="0" max=${String(MOST_SEED)} step="1" .value=${String(state.form.seed)}
        @input=${take} @change=${(event) => settle(event.target, state.form.seed, `Seed: 0 to ${MOST_SEED}`)}>
      <label class="check" title="Without it, every Make draws another seed (l)"><input id="keep-seed" type="checkbox"
        .checked=${state.isSeedKept} @change=${keep}> keep</label>
    </div>
  </div>`;
}
