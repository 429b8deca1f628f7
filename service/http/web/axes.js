// What a sweep's texts mean: the axes, their values, and the requests that two axes make.
//
// Values are written 1,1.5,4 or 1..4/0.5 or 0..7, mixed, up or down; classes by id or name, samplers and models by
// name. A seed that no number is exact for is a BigInt, every other value a number or a text. Everything wrong is one
// sentence that names the value and what is allowed. Knows no document, no network and no state of the page: what is
// loaded is told to it as a catalogue, {models: as GET /v1/models has them, classes(name): as GET /v1/classes has them,
// empty as long as they are not known}.
import { readRange } from "./ranges.js";

export const MOST_CELLS = 64; // of one POST /v1/batch
const MOST_GUIDANCE = 20; // as POST /generate takes it
const MOST_SEED = 2n ** 63n - 1n;

/** The axes in the order in which they are offered: how each is called, its name in a request, an example. */
export const AXES = {
  cfg: { title: "Guidance scale", field: "cfg", noun: "guidance scale", example: "1,1.5,4 or 1..4/0.5" },
  steps: { title: "Steps", field: "steps", noun: "number of steps", example: "10,20,50 or 10..50/10" },
  sampler: { title: "Sampler", field: "sampler", noun: "sampler", example: "ddim, ddpm" },
  seed: { title: "Seed", field: "seed", noun: "seed", example: "0..7 or 5,99" },
  class: { title: "Class", field: "class_id", noun: "class", example: "0..7, or ids and names" },
  model: { title: "Model", field: "model", noun: "model", example: "the names of models" },
};

class Problem extends Error {}

/** The cells of a sweep, row by row, or why there are none.
 *
 * A wish is {x, y, texts, form}: two axes (y may be "", which is one row), what is written for each axis, and the
 * values of the rest by their names in a request. The answer is {columns, rows, requests, problems: {x, y, whole}}: a
 * problem that neither text has alone is the whole's. */
export function planSweep({ x, y, texts, form }, catalogue) {
  const problems = { x: "", y: "", whole: "" };
  const models = modelsOf({ x, y, texts, form }, catalogue);
  const columns = orProblem(problems, "x", () => valuesOf(x, texts[x], models, catalogue));
  const rows = y === "" ? [null] : orProblem(problems, "y", () => valuesOf(y, texts[y], models, catalogue));
  orProblem(problems, "whole", () => {
    if (x === y) throw new Problem(`X and Y are both ${AXES[x].title}: choose another axis, or nothing, for Y.`);
    checkFixed(form, [x, y], models);
    checkCount(columns.length, rows.length);
  });
  const isWrong = Object.values(problems).some(Boolean);
  if (isWrong || models.length === 0) return { columns: [], rows: [], requests: [], problems };
  const fixed = Object.fromEntries(Object.values(AXES).map(({ field }) => [field, form[field]]));
  const cell = (column, row) => ({ ...fixed, ...(y && { [AXES[y].field]: row }), [AXES[x].field]: column });
  const requests = rows.flatMap((row) => columns.map((column) => cell(column, row)));
  return { columns, rows, requests, problems };
}

/** The models that a sweep is made with; none where its text says none. */
export function modelsOf({ x, y, texts, form }, catalogue) {
  const isAxis = [x, y].includes("model");
  const names = isAxis ? orProblem({}, "model", () => valuesOf("model", texts.model, [], catalogue)) : [form.model];
  return catalogue.models.filter(({ name }) => names.includes(name));
}

/** What may be written for an axis of a sweep with these models. */
export function exampleOf(axis, models, catalogue) {
  if (axis === "sampler" && models.length > 0) return models[0].samplers.join(", ");
  if (axis === "model" && catalogue.models.length > 0) return catalogue.models.map(({ name }) => name).join(", ");
  if (axis === "cfg" && models.some((model) => !model.can_guide)) return "1";
  return AXES[axis].example;
}

/** How a value is called at the head of its row or column. */
export function labelOf(axis, value, models, catalogue) {
  if (axis !== "class") return String(value);
  const called = models.map(({ name }) => catalogue.classes(name).find((one) => one.class_id === value)?.names[0]);
  const sharing = models.map(({ name }) => catalogue.classes(name).filter((one) => one.names[0] === called[0]).length);
  if (!called[0] || called.some((name) => name !== called[0])) return `class ${value}`;
  return sharing.some((count) => count > 1) ? `${called[0]} (${value})` : called[0];
}

function valuesOf(axis, text = "", models, catalogue) {
  const items = text.split(",").map((item) => item.trim()).filter(Boolean);
  const example = exampleOf(axis, models, catalogue);
  if (items.length === 0) throw new Problem(`${AXES[axis].title} has no values: write ${example}.`);
  return [...new Set(items.flatMap((item) => meaningOf(axis, item, models, catalogue)))];
}

function orProblem(problems, side, work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    problems[side] = error.message;
    return [];
  }
}

function meaningOf(axis, item, models, catalogue) {
  const samplers = () => models.map((model) => named(item, model.samplers, `sampler of ${model.name}`));
  if (axis === "model") return [named(item, catalogue.models.map(({ name }) => name), "model that is loaded")];
  if (axis === "sampler") return samplers().slice(0, 1);
  if (axis === "class" && !readRange(item)) return classNamed(item, models, catalogue);
  return numbersOf(axis, item, models);
}

function named(item, names, noun) {
  const found = names.find((name) => name === item) ?? names.find((name) => name.toLowerCase() === item.toLowerCase());
  if (found === undefined) throw new Problem(`“${item}” is no ${noun}: ${allowed(names)}.`);
  return found;
}

function allowed(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)} are` : `${names[0] ?? "none"} is`;
}

function classNamed(item, models, catalogue) {
  const ids = models.map(({ name }) => idOf(item, name, catalogue.classes(name)));
  const other = ids.findIndex((id) => id !== ids[0]);
  if (other < 0) return ids.slice(0, 1);
  const meanings = `class ${ids[0]} of ${models[0].name} but class ${ids[other]} of ${models[other].name}`;
  throw new Problem(`“${item}” is ${meanings}: write ids, which are the same for all models.`);
}

function idOf(item, model, classes) {
  if (!classes.length) throw new Problem(`Class names of ${model} are not known yet: wait, or write ids.`);
  const wanted = item.toLowerCase();
  const having = (fits) => classes.filter(({ names }) => names.some((name) => fits(name.toLowerCase())));
  const found = having((name) => name === wanted);
  if (found.length === 1) return found[0].class_id;
  const near = found.length ? found : having((name) => name.includes(wanted)).slice(0, 3);
  const meant = near.map(({ class_id: id, names }) => `${id} (${names[0]})`).join(" or ");
  const fault = found.length ? "the name of several classes" : "the name of no class";
  const ids = `an id from 0 to ${classes.length - 1}`;
  throw new Problem(`“${item}” is ${fault} of ${model}: write ${meant || ids}.`);
}

function numbersOf(axis, item, models) {
  const range = readRange(item);
  if (!range) throw new Problem(`“${item}” is no ${AXES[axis].noun}: write ${AXES[axis].example}.`);
  for (const end of range.ends) models.forEach((model) => checkValue(axis, end, model));
  if (range.isEndless) throw new Problem(`“${item}” never ends: write a step above 0, for a range downwards too.`);
  const isLong = range.count > MOST_CELLS;
  if (isLong) throw new Problem(`“${item}” has ${range.count} values: ${MOST_CELLS} is the most in one sweep.`);
  for (const value of range.values()) models.forEach((model) => checkValue(axis, value, model));
  return range.values();
}

function checkFixed(form, axes, models) {
  for (const [axis, { field }] of Object.entries(AXES)) {
    if (axis === "model" || axes.includes(axis)) continue;
    models.forEach((model) => checkValue(axis, form[field], model));
  }
}

function checkCount(columns, rows) {
  const count = columns * rows;
  if (count <= MOST_CELLS) return;
  const sum = rows > 1 ? `${columns} × ${rows} are ${count} pictures` : `These are ${count} pictures`;
  throw new Problem(`${sum}: ${MOST_CELLS} is the most in one sweep.`);
}

function checkValue(axis, value, model) {
  const check = (isRight, rule) => {
    if (!isRight) throw new Problem(`${value} is no ${AXES[axis].noun} of ${model.name}: ${rule}.`);
  };
  const checkWithin = (least, most) => check(value >= least && value <= most, `${least} to ${most} are allowed`);
  if (axis === "sampler") return check(model.samplers.includes(value), allowed(model.samplers));
  if (axis === "cfg" && !model.can_guide) return check(value === 1, "1 alone is allowed, since it takes no guidance");
  if (axis === "cfg") return checkWithin(1, MOST_GUIDANCE);
  check(typeof value === "bigint" || Number.isSafeInteger(value), "it must be a whole number");
  if (axis === "steps") return checkWithin(1, model.max_steps);
  return checkWithin(0, axis === "seed" ? MOST_SEED : model.num_classes - 1);
}
