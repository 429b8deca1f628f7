// The page by keyboard: what a key does, wherever the focus is. Tells its caller what is wanted; draws nothing.
import { surprise } from "./class_field.js";
import { copy, openCell, save } from "./detail.js";
import { drawSeed, put } from "./fields.js";
import { toggleHelp } from "./help.js";
import { changed, state } from "./page.js";

const TYPED = "input:not([type=checkbox], [type=range], [type=file]), textarea, select, [contenteditable]";
const PRESSED = "button, a, select, textarea, summary, [type=checkbox], [type=file]";

/** Listens to keys. `go` has: make(), stop(), show(k) for the k-th view. */
export function listenToKeys(go) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const isDone = document.querySelector("dialog[open]") ? inDialog(event) : onPage(event, go);
    if (isDone) event.preventDefault();
  });
}

function inDialog({ key, target }) {
  const cell = openCell();
  if (!cell || !state.hasKeys || target.matches(TYPED)) return false;
  return letter(key, cell);
}

function onPage({ key, target }, go) {
  if (key === "Escape") return go.stop();
  if (key === "Enter" && !target.matches(PRESSED)) return go.make();
  if (key.startsWith("Arrow") && target.matches(".tile")) return step(target, key);
  if (!state.hasKeys || target.matches(TYPED)) return false;
  if (key === "/") return focus("#class");
  if (key === "?") return toggleHelp() ?? true;
  if (key === "s") return surprise(state.form, (value) => put("class_id", value)) ?? true;
  if (key === "r") return drawSeed() ?? true;
  if (key === "l") return keepSeed();
  if (/^[1-4]$/.test(key)) return go.show(Number(key) - 1) ?? true;
  const { cell } = target; // of a tile
  return cell ? letter(key, cell) : false;
}

function letter(key, cell) {
  if (key === "d") save(cell);
  else if (key === "c") copy(cell, "link");
  else return false;
  return true;
}

function keepSeed() {
  state.isSeedKept = !state.isSeedKept;
  changed();
  return true;
}

function focus(selector) {
  const found = document.querySelector(selector);
  found?.focus();
  return Boolean(found);
}

/** Moves the focus to the nearest tile in a direction, by where tiles lie. */
function step(from, key) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const here = from.getBoundingClientRect();
  const ranked = [...document.querySelectorAll(".tile")]
    .map((each) => [each, each.getBoundingClientRect()])
    .map(([each, box]) => [each, box.x - here.x, box.y - here.y])
    .filter(([each, x, y]) => each !== from && x * dx + y * dy > 1)
    .map(([each, x, y]) => [each, Math.abs(x * dx + y * dy) + 4 * Math.abs(x * dy + y * dx)])
    .sort(([, a], [, b]) => a - b);
  ranked[0]?.[0].focus();
  return ranked.length > 0;
}
