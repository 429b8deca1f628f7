// The view in the URL's fragment, so that a link shows what its sender saw: #make?model=…&class=207&…&made=1
import { exactNumber, isFine, MOST_SEED } from "./fields.js";
import { fitForm, state } from "./page.js";

const FIELDS = { class_id: "class", cfg: "cfg", steps: "steps", seed: "seed", model: "model", sampler: "sampler" };
const BOUNDS = { class_id: [0, 1e9], cfg: [1, 20, "any"], steps: [1, 1e9], seed: [0, MOST_SEED] };

/** The fragment that shows one picture. */
export function fragmentOf(request) {
  return `#make?${written(request)}&n=1&keep=1&made=1`;
}

/** The fragment of a view as it stands, with its pictures or without. */
export function fragment(tab, isMade) {
  const params = written(state.form);
  if (state.isSeedKept) params.set("keep", "1");
  tab.write(params);
  if (isMade) params.set("made", "1");
  return `#${tab.id}?${params}`;
}

/** Has the page's state say what a fragment says, as far as that can be; whether it has pictures. */
export function follow(text, tabs) {
  const [id, query] = text.slice(1).split("?");
  const params = new URLSearchParams(query);
  state.tab = tabs.find((tab) => tab.id === id)?.id ?? state.tab;
  state.isSeedKept = params.has("keep");
  const loaded = state.models.map(({ name }) => name);
  const other = ["model", "right"].map((key) => params.get(key)).find((name) => name && !loaded.includes(name));
  state.notice = other ? `This link is of the model ${other}, which is not loaded here.` : "";
  for (const [name, key] of Object.entries(FIELDS)) {
    const value = BOUNDS[name] ? exactNumber(params.get(key) ?? "") : params.get(key);
    if (BOUNDS[name] ? isFine(value, ...BOUNDS[name]) : value) state.form[name] = value;
  }
  fitForm();
  tabs.find((tab) => tab.id === state.tab).read(params);
  return params.has("made") && !other;
}

function written(form) {
  return new URLSearchParams(Object.entries(FIELDS).map(([name, key]) => [key, form[name]]));
}
