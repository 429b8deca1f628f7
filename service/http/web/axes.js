// What lists of values mean, and the requests that two axes make. Values are written 1,1.5,4 or 1..4/0.5 or 0..7,
// mixed, up or down; classes by id or name, samplers and models by name. What is wrong is one sentence.
import { exactNumber, isFine, MOST_SEED } from "./fields.js";
import { knownClasses, state } from "./page.js";
import { MOST_REQUESTS } from "./run.js";

const RANGE = /^(\d*\.?\d+)(?:\.\.(\d*\.?\d+)(?:\/(\d*\.?\d+))?)?$/;

/** The axes: how each is called, its name in a request, an example. */
export const AXES = {
  cfg: { title: "Guidance scale", field: "cfg", example: "1,1.5,4 or 1..4/0.5" },
  steps: { title: "Steps", field: "steps", example: "10,20,50 or 10..50/10" },
  sampler: { title: "Sampler", field: "sampler", example: "ddim,ddpm" },
  seed: { title: "Seed", field: "seed", example: "0..7 or 5,99" },
  class: { title: "Class", field: "class_id", example: "0..7, or ids and names" },
  model: { title: "Model", field: "model", example: "names of models" },
};

class Fault extends Error {}

/** What a text says of an axis, for all of these models: {values, problem}. */
export function valuesOf(axis, text, models) {
  try {
    const items = text.split(",").map((item) => item.trim()).filter(Boolean);
    if (!items.length) throw new Fault(`There is no value: write ${AXES[axis].example}.`);
    return { values: [...new Set(items.flatMap((item) => meaning(axis, item, models)))], problem: "" };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { values: [], problem: error.message };
  }
}

/** The requests of all pairs of values, row by row, with the form's value for every other axis:
 * {columns, rows, models, requests, problems: {x, y, whole}}. Without y there is one row. */
export function planOf({ x, y, texts, form }) {
  const names = [x, y].includes("model") ? valuesOf("model", texts.model, []).values : [form.model];
  const models = state.models.filter(({ name }) => names.includes(name));
  const read = (axis) => (axis ? valuesOf(axis, texts[axis], models) : { values: [null], problem: "" });
  const [{ values: columns, problem: ofX }, { values: rows, problem: ofY }] = [read(x), read(y)];
  const { n, ...fixed } = form;
  const pair = (row, column) => ({ ...fixed, ...(y && { [AXES[y].field]: row }), [AXES[x].field]: column });
  const requests = rows.flatMap((row) => columns.map((column) => pair(row, column)));
  const same = x === y ? `X and Y are both ${AXES[x].title}: choose another one.` : "";
  const problems = { x: ofX, y: ofY, whole: same || lackOf(form, [x, y], models) || excess(requests.length) };
  return { columns, rows, models, problems, requests: Object.values(problems).some(Boolean) ? [] : requests };
}

/** Why models cannot take a form's values but those of these axes; empty if they can. */
export function lackOf(form, except, models) {
  const axes = Object.keys(AXES).filter((axis) => axis !== "model" && !except.includes(axis));
  return models.flatMap((model) => axes.map((axis) => lack(axis, form[AXES[axis].field], model))).find(Boolean) ?? "";
}

/** Why so many pictures are too many; empty if they are not. */
export function excess(count) {
  return count > MOST_REQUESTS ? `These are ${count} pictures: ${MOST_REQUESTS} is the most at once.` : "";
}

function lack(axis, value, { name, can_guide, max_steps, num_classes, samplers }) {
  const bounds = {
    cfg: [1, can_guide ? 20 : 1, "any"], steps: [1, max_steps], seed: [0, MOST_SEED], class: [0, num_classes - 1],
  }[axis];
  if (bounds ? isFine(value, ...bounds) : samplers.includes(value)) return "";
  const allowed = bounds ? `${bounds[0]} to ${bounds[1]}${bounds[2] ? "" : ", whole numbers"}` : samplers.join(", ");
  return `${AXES[axis].title} ${value}: ${name} takes ${allowed}.`;
}

function meaning(axis, item, models) {
  const values = axis === "model" || axis === "sampler" ? [item] : rangeOf(item);
  if (axis === "class" && !values) return classNamed(item, models);
  if (!values) throw new Fault(`“${item}” is no value: write ${AXES[axis].example}.`);
  const loaded = state.models.map(({ name }) => name);
  const problem = axis === "model"
    ? !loaded.includes(item) && `“${item}” is no model: there is ${loaded.join(", ")}.`
    : values.flatMap((value) => models.map((model) => lack(axis, value, model))).find(Boolean);
  if (problem) throw new Fault(problem);
  return values;
}

/** The numbers of "4" or "1..4/0.5", null if it is neither. They are reckoned in units of their last place, so that
 * 1..2/0.1 has 1.1 in it. */
function rangeOf(item) {
  const [, first, last = first, by = "1"] = RANGE.exec(item.replaceAll(" ", "")) ?? [];
  if (!first) return null;
  const places = Math.max(...[first, last, by].map((part) => part.split(".")[1]?.length ?? 0));
  const [from, to, step] = [first, last, by].map((part) => {
    const [whole, rest = ""] = part.split(".");
    return BigInt(whole + rest.padEnd(places, "0"));
  });
  if (!step) throw new Fault(`“${item}” never ends: write a step above 0.`);
  const count = (from < to ? to - from : from - to) / step + 1n;
  if (count > MOST_REQUESTS) throw new Fault(`“${item}” has ${count} values: ${MOST_REQUESTS} is the most at once.`);
  return Array.from({ length: Number(count) }, (_, k) => {
    const digits = String(from + (from < to ? step : -step) * BigInt(k)).padStart(places + 1, "0");
    return exactNumber(places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits);
  });
}

function classNamed(item, models) {
  const ids = models.map(({ name }) => {
    const called = (fits) => knownClasses(name).filter(({ names }) => names.some((each) => fits(each.toLowerCase())));
    const found = called((each) => each === item.toLowerCase());
    if (found.length === 1) return found[0].class_id;
    const near = found.length ? found : called((each) => each.includes(item.toLowerCase())).slice(0, 3);
    const meant = near.map(({ class_id, names }) => `${class_id} (${names[0]})`).join(" or ") || "an id";
    throw new Fault(`“${item}” is ${found.length ? "several classes" : "no class"} of ${name}: write ${meant}.`);
  });
  if (ids.some((id) => id !== ids[0])) throw new Fault(`“${item}” is another class in another model: write an id.`);
  return ids.slice(0, 1);
}
