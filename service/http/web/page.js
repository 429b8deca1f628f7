// The page's one state, and what everything else needs to tell of it: a redraw, a word, something to remember.
import { ask, fromJson } from "./api.js";

export const state = {
  tab: "make",
  form: { model: "", class_id: 0, cfg: 4, steps: 50, sampler: "ddim", seed: 0, n: 8 },
  isSeedKept: false,
  models: [],
  status: undefined, // the answer of /v1/status, null where there is none
  trouble: "", // why the service makes nothing, in words
  notice: "", // what is to be said about this view
  links: {}, // what the service has, by name
};

const classes = new Map(); // by model
const asking = new Map(); // what brings them
let drawing = null;
let draw;

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

/** The loaded model of this name, else the default one. */
export function modelNamed(name) {
  return state.models.find((model) => model.name === name) ?? state.models[0];
}

/** Asks what is loaded and what the service has, and has the form agree with it. */
export async function learnModels() {
  const [{ models }, discovery] = await Promise.all([asked("v1/models"), asked("")]);
  state.links = Object.fromEntries(Object.entries(discovery).map(([name, { href }]) => [name, href]));
  state.models = models;
  classes.clear();
  asking.clear();
  fitForm();
  await classesOf(state.form.model);
}

/** Has the form ask for what its model can do. */
export function fitForm() {
  const { form } = state;
  const { name, num_classes, max_steps, can_guide, samplers } = modelNamed(form.model);
  form.model = name;
  form.class_id = Math.min(form.class_id, num_classes - 1);
  form.steps = Math.min(form.steps, max_steps);
  if (!can_guide) form.cfg = 1;
  if (!samplers.includes(form.sampler)) [form.sampler] = samplers;
}

/** Has the classes of a model known; they are asked for once. */
export function classesOf(model) {
  if (!asking.has(model)) asking.set(model, learnClasses(model).catch(() => asking.delete(model)));
  return asking.get(model);
}

/** The classes of a model, [{class_id, names}], as far as they are known by now. */
export function knownClasses(model) {
  return classes.get(model) ?? [];
}

/** A class's first name, or "class 7". */
export function className(model, classId) {
  return knownClasses(model)[classId]?.names[0] ?? `class ${classId}`;
}

/** Keeps a text for the tab (sessionStorage) or for good (localStorage), if the browser lets it. */
export function remember(storage, name, text) {
  try {
    window[storage].setItem(`dit-serve ${name}`, text);
  } catch {
    state[name] = text; // as long as the page is open
  }
}

/** What was kept; empty if nothing. */
export function remembered(storage, name) {
  try {
    return window[storage].getItem(`dit-serve ${name}`) ?? "";
  } catch {
    return state[name] ?? "";
  }
}

async function learnClasses(model) {
  classes.set(model, (await asked(`v1/classes?model=${encodeURIComponent(model)}`)).classes);
  changed();
}

async function asked(path) {
  return fromJson(await (await ask(path)).text());
}
