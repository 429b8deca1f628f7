// The view in the URL's fragment, so that a link shows what its sender saw: #make?model=…&class=207&…&made=1
import { exactNumber, MOST_SEED } from "./fields.js";
import { fitForm, state } from "./page.js";

/** The fragment that shows one picture. */
export function fragmentOf(request) {
  return `#make?${written({ ...request, n: 1 }, new URLSearchParams())}&n=1&keep=1&made=1`;
}

/** The fragment of the view as it stands, with its pictures if it has them. */
export function fragment(tab, isMade) {
  const params = written(state.form, new URLSearchParams());
  if (state.isSeedKept) params.set("keep", "1");
  tab.write(params);
  if (isMade) params.set("made", "1");
  return `#${tab.id}?${params}`;
}

/** Has the page show what a fragment says, as far as that can be; whether it had pictures. */
export function follow(text, tabs) {
  const [id, query] = text.replace(/^#/, "").split("?");
  const params = new URLSearchParams(query ?? "");
  const tab = tabs.find((each) => each.id === id) ?? tabs[0];
  state.tab = tab.id;
  readForm(params);
  state.isSeedKept = params.has("keep");
  tab.read(params);
  return params.has("made");
}

function written({ model, class_id, cfg, steps, sampler, seed }, params) {
  for (const [name, value] of Object.entries({ model, class: class_id, cfg, steps, sampler, seed })) {
    params.set(name, String(value));
  }
  return params;
}

function readForm(params) {
  const { form } = state;
  const number = (name, isFine) => {
    const value = exactNumber(params.get(name) ?? "");
    return value !== null && isFine(value) ? value : null;
  };
  const isWhole = (value) => Number.isInteger(Number(value)) && value >= 0;
  const model = params.get("model");
  const isLoaded = !model || state.models.some(({ name }) => name === model);
  state.notice = isLoaded ? "" : `This link is of the model ${model}, which is not loaded here.`;
  if (model && isLoaded) form.model = model;
  form.sampler = params.get("sampler") ?? form.sampler;
  form.class_id = number("class", isWhole) ?? form.class_id;
  form.cfg = number("cfg", (value) => value >= 1 && value <= 20) ?? form.cfg;
  form.steps = number("steps", (value) => isWhole(value) && value >= 1) ?? form.steps;
  form.seed = number("seed", (value) => isWhole(value) && BigInt(value) <= MOST_SEED) ?? form.seed;
  fitForm();
}
