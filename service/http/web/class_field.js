// The field that finds a class: a combobox (ARIA 1.2) over all names of the model, with those used last on top.
import { search, withRecent } from "./classes.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, className, knownClasses } from "./page.js";
import { remember, remembered } from "./storage.js";

const MOST_SHOWN = 60;

const open = { text: null, at: 0 }; // what is typed, null while the list is closed; which option is marked

/** The field, for a form with `model` and `class_id`. */
export function classField({ form, set }) {
  const options = open.text === null ? [] : optionsOf(form);
  const shown = open.text ?? labelOf(form.model, form.class_id);
  return html`<div class="field class-field">
    <label for="class">Class</label>
    <div class="row">
      <input id="class" role="combobox" autocomplete="off" spellcheck="false" aria-autocomplete="list"
        aria-expanded=${options.length ? "true" : "false"} aria-controls="class-options"
        aria-activedescendant=${options.length ? `class-option-${open.at}` : nothing}
        .value=${shown} placeholder=${labelOf(form.model, form.class_id)}
        @focus=${(event) => begin(event.target, form)} @input=${(event) => typed(event.target.value)}
        @blur=${close} @keydown=${(event) => pressed(event, form, set)}>
      <button type="button" class="icon" aria-label="Surprise me" title="Surprise me: any class (s)"
        @click=${() => surprise(form, set)}>${dice}</button>
    </div>
    <ul id="class-options" role="listbox" aria-label="Classes" ?hidden=${!options.length}>
      ${options.map((each, k) => option(each, k, form, set))}
    </ul>
  </div>`;
}

/** Any class of the model. */
export function surprise(form, set) {
  const classes = knownClasses(form.model);
  if (!classes.length) return;
  const classId = Math.floor(Math.random() * classes.length);
  choose(form, set, classId);
  announce(labelOf(form.model, classId));
}

/** A class in words: "207 golden retriever". */
export function labelOf(model, classId) {
  const name = className(model, classId);
  return name === `class ${classId}` ? name : `${classId} ${name}`;
}

const dice = html`<svg viewBox="0 0 16 16" aria-hidden="true"><rect x="2" y="2" width="12" height="12" rx="3"
  fill="none" stroke="currentColor" stroke-width="1.5"/><circle cx="5.5" cy="5.5" r="1.1" fill="currentColor"/><circle
  cx="10.5" cy="10.5" r="1.1" fill="currentColor"/><circle cx="8" cy="8" r="1.1" fill="currentColor"/></svg>`;

function option(each, k, form, set) {
  return html`<li id="class-option-${k}" role="option" aria-selected=${k === open.at ? "true" : "false"}
    @pointerdown=${(event) => event.preventDefault()} @click=${() => choose(form, set, each.class_id)}>
    <span class="number">${each.class_id}</span> ${each.name || `class ${each.class_id}`}
    ${each.isRecent ? html`<span class="muted">recent</span>` : synonyms(each)}
  </li>`;
}

function synonyms({ name, names }) {
  const others = names.filter((each) => each !== name);
  return others.length ? html`<span class="muted">${others.join(", ")}</span>` : nothing;
}

function optionsOf(form) {
  const found = search(knownClasses(form.model), open.text);
  if (open.text.trim() !== "") return found.slice(0, MOST_SHOWN);
  const recent = recentOf(form.model).map((id) => found.find((each) => each.class_id === id)).filter(Boolean);
  return [...recent.map((each) => ({ ...each, isRecent: true })), ...found.filter((each) => !recent.includes(each))]
    .slice(0, MOST_SHOWN);
}

function recentOf(model) {
  return remembered("localStorage", `recent ${model}`).split(",").filter(Boolean).map(Number);
}

function begin(input, form) {
  Object.assign(open, { text: "", at: 0 });
  open.at = Math.max(0, optionsOf(form).findIndex((each) => each.class_id === form.class_id));
  input.value = "";
  changed();
}

function typed(text) {
  Object.assign(open, { text, at: 0 });
  changed();
}

function close() {
  open.text = null;
  changed();
}

function choose(form, set, classId) {
  remember("localStorage", `recent ${form.model}`, withRecent(recentOf(form.model), classId).join(","));
  open.text = null;
  set(classId);
  requestAnimationFrame(() => document.activeElement?.id === "class" && document.activeElement.select());
}

function pressed(event, form, set) {
  const options = open.text === null ? [] : optionsOf(form);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  if (event.key in moves) {
    if (open.text === null) open.text = "";
    else open.at = Math.max(0, Math.min(options.length - 1, open.at + moves[event.key]));
    document.querySelector(`#class-option-${open.at}`)?.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && options.length) {
    choose(form, set, options[open.at].class_id);
  } else if (event.key === "Escape" && open.text !== null) {
    open.text = null;
  } else {
    return;
  }
  event.preventDefault();
  changed();
}
