// Finding a class: a ranking, as the service's (models/labels.py), and the field for it, a combobox of ARIA 1.2.
import { html, nothing, svg } from "./lit-html.js";
import { announce, changed, className, knownClasses, remember, remembered } from "./page.js";

const MOST_SHOWN = 60;
const MOST_RECENT = 8;
const MOVES = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };

const list = { text: null, at: 0 }; // what is typed, null while the list is closed; which option is marked

/** The classes that a text means, best first, [{class_id, name, names}]: one of that id and ids that begin so, a name
 * that is the text, names that begin with it, names with all of its words; equals in order of id. */
export function search(classes, text) {
  const wanted = folded(text);
  const ranked = classes.flatMap((each) => {
    const id = String(each.class_id);
    const ranks = each.names.map((name) => [rankOf(folded(name), wanted), name]);
    ranks.push([id === wanted ? -2 : /^\d/.test(wanted) && id.startsWith(wanted) ? -1 : 9, each.names[0] ?? ""]);
    if (!wanted) ranks.unshift([0, each.names[0] ?? ""]);
    const [rank, name] = ranks.reduce((best, next) => (next[0] < best[0] ? next : best));
    return rank < 9 ? [{ ...each, rank, name }] : [];
  });
  return ranked.sort((a, b) => a.rank - b.rank || a.class_id - b.class_id);
}

/** The field, for a form with `model` and `class_id`. */
export function classField({ form, set }) {
  const options = optionsOf(form);
  const label = labelOf(form);
  const on = {
    focus: (event) => {
      Object.assign(list, { text: "", at: 0 });
      list.at = Math.max(0, optionsOf(form).findIndex(({ class_id }) => class_id === form.class_id));
      event.target.value = "";
      changed();
    },
    input: (event) => show(event.target.value),
    blur: () => show(null),
    keydown: (event) => pressed(event, form, set),
  };
  return html`<div class="field whole">
    <label for="class">Class</label>
    <div class="row">
      <input id="class" role="combobox" autocomplete="off" spellcheck="false" aria-autocomplete="list"
        aria-invalid=${String(Boolean(list.text) && !options.length)}
        aria-expanded=${String(options.length > 0)} aria-controls="class-options"
        aria-activedescendant=${options.length ? `class-option-${list.at}` : nothing}
        .value=${list.text ?? label} placeholder=${label}
        @focus=${on.focus} @input=${on.input} @blur=${on.blur} @keydown=${on.keydown}>
      <button type="button" class="icon" aria-label="Surprise me" title="Surprise me (s)"
        @click=${() => surprise(form, set)}><svg viewBox="0 0 16 16" aria-hidden="true">
        <rect x="2" y="2" width="12" height="12" rx="3" fill="none" stroke="currentColor" stroke-width="1.5"/>
        ${[5.5, 8, 10.5].map((at) => svg`<circle cx=${at} cy=${at} r="1.1" fill="currentColor"/>`)}</svg></button>
    </div>
    <ul id="class-options" role="listbox" tabindex="-1" aria-label="Classes" ?hidden=${!options.length}>
      ${options.map(({ class_id, name, names, isRecent }, k) => html`<li id="class-option-${k}" role="option"
        aria-selected=${String(k === list.at)} @pointerdown=${(event) => event.preventDefault()}
        @click=${() => choose(form, set, class_id)}><span class="number">${class_id}</span>
        ${name || `class ${class_id}`}
        <span class="muted">${isRecent ? "recent" : names.filter((each) => each !== name).join(", ")}</span></li>`)}
    </ul>
  </div>`;
}

/** Chooses any class of the model. */
export function surprise(form, set) {
  choose(form, set, Math.floor(Math.random() * knownClasses(form.model).length));
  announce(labelOf(form));
}

/** A class in words: "207 golden retriever". */
export function labelOf({ model, class_id }) {
  const name = className(model, class_id);
  return name === `class ${class_id}` ? name : `${class_id} ${name}`;
}

function optionsOf({ model }) {
  if (list.text === null) return [];
  const found = search(knownClasses(model), list.text);
  if (list.text.trim()) return found.slice(0, MOST_SHOWN);
  const recent = recentOf(model).flatMap((id) => found.filter(({ class_id }) => class_id === id));
  const others = found.filter((each) => !recent.includes(each));
  return [...recent.map((each) => ({ ...each, isRecent: true })), ...others].slice(0, MOST_SHOWN);
}

function recentOf(model) {
  return remembered("localStorage", `recent ${model}`).split(",").filter(Boolean).map(Number);
}

function show(text) {
  Object.assign(list, { text, at: 0 });
  changed();
}

function choose(form, set, classId) {
  const others = recentOf(form.model).filter((each) => each !== classId);
  remember("localStorage", `recent ${form.model}`, [classId, ...others].slice(0, MOST_RECENT).join(","));
  list.text = null;
  set(classId);
  requestAnimationFrame(() => document.activeElement.id === "class" && document.activeElement.select());
}

function pressed(event, form, set) {
  const options = optionsOf(form);
  if (event.key in MOVES) {
    if (list.text === null) return show("");
    list.at = Math.max(0, Math.min(options.length - 1, list.at + MOVES[event.key]));
    document.querySelector(`#class-option-${list.at}`)?.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && options.length) choose(form, set, options[list.at].class_id);
  else if (event.key === "Enter" && list.text) announce("No class has these words.");
  else if (event.key === "Escape" && list.text !== null) list.text = null;
  else return;
  event.preventDefault();
  changed();
}

function rankOf(name, wanted) {
  if (name === wanted) return 0;
  if (name.startsWith(wanted)) return 1;
  return wanted.split(" ").every((word) => name.includes(word)) ? 2 : 9;
}

function folded(text) {
  return text.toLowerCase().replaceAll("ß", "ss").trim().replace(/\s+/g, " ");
}
