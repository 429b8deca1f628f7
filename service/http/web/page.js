// The one state of the page, and what everything else needs to be told of it: a redraw, a word to a screen reader.
// Knows what is loaded at the service; knows no view.
import { ask, fromJson } from "./api.js";

/** Everything that is shown is drawn from here. */
export const state = {
  tab: "make",
  form: { model: "", class_id: 0, cfg: 4, steps: 50, sampler: "ddim", seed: 0, n: 8 },
  isSeedKept: false,
  models: [],
  status: null, // the answer of /v1/status, null where the service does not answer
  trouble: "", // why there is nothing to show, in words
  links: {}, // what the service says that it has, by name
  notice: "", // what is to be said about this view
  hasKeys: true, // whether single letters are keys
};

const names = new Map(); // of classes, by model

let drawing = null;
let draw = () => {};

/** Says what draws the page. */
export function drawnBy(drawPage) {
  draw = drawPage;
}

/** Asks for a redraw, of which there is one a frame. */
export function changed() {
  drawing ??= requestAnimationFrame(() => {
    drawing = null;
    draw();
  });
}

/** Tells screen readers, politely. */
export function announce(text) {
  document.querySelector("#announcer").textContent = text;
}

/** The loaded model of this name, else the default one; undefined before any is known. */
export function modelNamed(name) {
  return state.models.find((model) => model.name === name) ?? state.models[0];
}

/** Asks what is loaded, and has the form agree with it. */
export async function learnModels() {
  const answer = await ask("v1/models");
  names.clear();
  state.models = fromJson(await answer.text()).models;
  fitForm();
  await classesOf(state.form.model);
  changed();
}

/** Has the form ask for what its model can do. */
export function fitForm() {
  const { form } = state;
  const model = modelNamed(form.model);
  if (!model) return;
  form.model = model.name;
  form.class_id = Math.min(form.class_id, model.num_classes - 1);
  form.steps = Math.min(form.steps, model.max_steps);
  if (!model.can_guide) form.cfg = 1;
  if (!model.samplers.includes(form.sampler)) form.sampler = model.samplers[0];
}

/** The classes of a model with their names, [{class_id, names}]; asked for once. */
export async function classesOf(name) {
  if (!names.has(name)) {
    const answer = await ask(`v1/classes?model=${encodeURIComponent(name)}`);
    names.set(name, fromJson(await answer.text()).classes);
    changed();
  }
  return names.get(name);
}

/** The classes of a model as far as they are known by now. */
export function knownClasses(name) {
  return names.get(name) ?? [];
}

/** A class's first name, or "class 7" where it has none, or none is known yet. */
export function className(model, classId) {
  return knownClasses(model)[classId]?.names[0] ?? `class ${classId}`;
}
