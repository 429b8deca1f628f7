// The third view: two models side by side, of the same classes and seeds, and in which pixels they differ.
// While Flicker is held the right pictures stand in the places of the left ones: the eye finds what moves. The left
// model is the form's. How lists are read, axes.js knows; how pixels are compared, pixels.js.
import { planSweep } from "./axes.js";
import { openCell, openPicture } from "./detail.js";
import { Differences, inWords } from "./differences.js";
import { formFields, put, selectField, textField } from "./fields.js";
import { Flicker } from "./flicker.js";
import { fragment } from "./fragment.js";
import { html, nothing } from "./lit-html.js";
import { changed, className, classesOf, knownClasses, modelNamed, state } from "./page.js";
import { Run, secondsOf, stepsOf } from "./run.js";
import { tile } from "./tile.js";

const FACTORS = [1, 4, 16];
const ELSEWHERE = new Set(["model", "class_id", "seed"]); // fields that this view has its own of

export const compare = {
  id: "compare",
  title: "Compare",
  run: null,
  right: "", // name of a model, the first that is not the left one if there is none of it
  classes: null, // as written; null is the form's class
  seeds: "0..3",
  factor: 4, // of the difference pictures
  flicker: new Flicker(() => state.tab === "compare" && compare.run !== null && !openCell()),
  differences: null, // of the run's pairs
  asked: new Set(), // models whose classes are on their way

  panel() {
    if (state.models.length < 2) return html`<p class="hint">${lack()}</p>`;
    const { problems } = planned(this);
    const [left, right] = sides(this).map(({ name }) => name);
    const setLeft = (name) => choose(this, name, name === right ? left : right); // who takes the other one's swaps them
    const setRight = (name) => choose(this, name === left ? right : left, name);
    return html`${modelField("Left model", "left", left, setLeft)}
      ${modelField("Right model", "right", right, setRight)}
      ${listField(this, "classes", "Classes", classesText(this), "Ids, ranges as 0..3, or names", problems.y)}
      ${listField(this, "seeds", "Seeds", this.seeds, "Such as 0..3 or 5,99", problems.x)}
      ${formFields(ELSEWHERE)}`;
  },

  stage() {
    if (!this.run) return empty(this);
    const { pairs } = this.differences;
    return html`${bar(this)}<ul class="trios" data-count=${pairs.length > 2 ? "many" : "few"}>
      ${pairs.map((pair) => trio(this, pair))}
    </ul>`;
  },

  make() {
    const { requests } = planned(this);
    if (!requests.length) return;
    this.stop();
    this.run = new Run(requests);
    this.differences = new Differences(pairsOf(this.run));
    this.run.start();
  },

  stop() {
    this.run?.stop();
  },

  cost() {
    const { requests, problems } = planned(this);
    const problem = problems.whole || problems.y || problems.x;
    if (problem) return { problem };
    return { images: requests.length, sequenceSteps: stepsOf(requests), seconds: secondsOf(requests) };
  },

  write(params) {
    if (this.right) params.set("right", this.right);
    if (this.classes !== null) params.set("classes", this.classes);
    params.set("seeds", this.seeds);
    params.set("factor", this.factor);
  },

  read(params) {
    for (const name of ["right", "classes", "seeds"]) this[name] = params.get(name) ?? this[name];
    const factor = Number(params.get("factor"));
    if (FACTORS.includes(factor)) this.factor = factor;
  },
};

function set(view, name, value) {
  view[name] = value;
  changed();
}

function lack() {
  const [model] = state.models;
  return model
    ? `One model is loaded, and two are needed: start the service with --models ${model.name},other=PATH.`
    : "No model is known yet.";
}

function choose(view, left, right) {
  view.right = right;
  put("model", left);
}

function modelField(label, id, value, set) {
  const options = state.models.map((model) => [model.name, `${model.name} · ${model.resolution} px`]);
  return selectField({ label, id, value, options, set });
}

function listField(view, name, label, value, hint, problem) {
  return textField({ label, id: name, value, hint, problem, set: (text) => set(view, name, text) });
}

function classesText({ classes }) {
  return classes ?? String(state.form.class_id);
}

function sides({ right }) {
  const left = modelNamed(state.form.model);
  return [left, state.models.find(({ name }) => name === right) ?? state.models.find((model) => model !== left)];
}

/** The requests, left and right in turn, or what is wrong with what is written: {requests, problems: {x, y, whole}}. */
function planned(view) {
  const [left, right] = sides(view);
  const whole = !right ? lack() : left === right ? "Both sides are one model: choose another one." : "";
  const plans = [];
  if (!whole) {
    const texts = { seed: view.seeds, class: classesText(view) };
    for (const { name } of [left, right]) { // names of classes are the left model's; their ids go for both
      learnClasses(view, name);
      const wish = { x: "seed", y: "class", texts, form: { ...state.form, model: name } };
      const plan = planSweep(wish, { models: state.models, classes: knownClasses });
      if (Object.values(plan.problems).some(Boolean)) return plan;
      texts.class = plan.rows.join(",");
      plans.push(plan.requests);
    }
  }
  const requests = whole ? [] : plans[0].flatMap((request, k) => [request, plans[1][k]]);
  return { requests, problems: { x: "", y: "", whole } };
}

function learnClasses({ asked }, name) {
  if (asked.has(name) || knownClasses(name).length) return;
  asked.add(name);
  classesOf(name).catch(() => asked.delete(name)); // that the service cannot be asked is told elsewhere
}

function pairsOf({ cells }) {
  return cells.filter((_, k) => k % 2 === 0).map((left, k) => [left, cells[2 * k + 1]]);
}

function empty(view) {
  const [left, right] = sides(view);
  if (!right) return html`<div class="empty"><h2>Two models are needed</h2><p>${lack()}</p></div>`;
  return html`<div class="empty">
    <h2>${left.name} and ${right.name}</h2>
    <p>Press <kbd>Enter</kbd> to see them side by side, then hold <kbd>space</kbd> to see one in the other's place.</p>
  </div>`;
}

function bar(view) {
  const setFactor = ({ target }) => {
    const isMade = fragment(view, true) === view.madeAs; // the pictures are the same
    set(view, "factor", Number(target.value));
    if (isMade) view.madeAs = fragment(view, true);
  };
  return html`<div class="bar">
    <p>${view.differences.summary()}</p>
    <label>Difference <select @change=${setFactor}>
      ${FACTORS.map((each) => html`<option value=${each} .selected=${each === view.factor}>× ${each}</option>`)}
    </select></label>
    ${view.flicker.button("Hold it, or space: the right pictures stand in the places of the left ones")}
  </div>`;
}

function trio(view, pair) {
  const { cells } = view.run;
  const [left, right] = pair;
  const result = view.differences.of(pair, view.factor);
  const isSwapped = view.flicker.isHeld && left.image && right.image;
  const names = pair.map(({ request }) => className(request.model, request.class_id));
  const side = (cell, shown) => html`<div role="group" aria-label=${cell.request.model}>
    ${tile({ ...cell, image: shown.image }, { caption: nothing, open: () => openPicture(cell, cells) })}
    <span class="caption">${shown.request.model}</span></div>`;
  return html`<li>
    <h2>${names[0] === names[1] ? names[0] : names.join(" | ")} <span>seed ${String(left.request.seed)}</span></h2>
    <div class="trio">
      ${side(left, isSwapped ? right : left)} ${side(right, right)}
      <div class="difference"><span class="frame">${result?.canvas ?? nothing}</span>
        <span class="caption">difference${result?.problem ? "" : ` × ${result?.drawn ?? view.factor}`}</span></div>
    </div>
    <p>${result ? inWords(result) : nothing}</p>
  </li>`;
}
