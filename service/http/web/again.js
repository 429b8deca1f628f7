// Whether a picture comes out again: the loaded model that made it, the request that asks for it, and how what comes
// then differs from what was there. Knows receipts and models; no view, and not how pictures are made.
import { planSweep } from "./axes.js";
import { compared } from "./pixels.js";
import { readPng, textsThatDiffer } from "./png.js";

const SAME = ["dtype", "precision", "weights", "resolution", "guidance_channels"]; // what else its model must have

/** The request for a receipt's picture, or why there is none here: {request, problem}.
 *
 * A model is known by its weights: it may be served under another name than when the picture was made. */
export function requestOf(receipt, models) {
  const known = models.filter((model) => model.weights_sha256 === receipt.weights_sha256);
  const fitting = known.filter((model) => !otherIn(receipt, model));
  const model = fitting.find(({ name }) => name === receipt.model) ?? fitting[0];
  if (!model) return { request: null, problem: lack(receipt, models, known) };
  const texts = { seed: String(receipt.seed), class: String(receipt.class_id) };
  const wish = { x: "seed", y: "class", texts, form: { ...receipt, model: model.name } };
  const { requests, problems } = planSweep(wish, { models, classes: () => [] });
  const problem = problems.x || problems.y || problems.whole;
  return { request: requests[0] ?? null, problem: problem.replace(/\.$/, "") };
}

/** How a picture that was made again differs from the file: {kind: "equal", "near" or "unequal", words}. */
export async function verdictOf(file, made) {
  const isEqual = file.length === made.length && file.every((byte, k) => byte === made[k]);
  if (isEqual) return { kind: "equal", words: "equal" };
  const texts = textsThatDiffer(readPng(file), readPng(made)).join(", ");
  const { problem, differ, of } = await compared(file, made);
  if (problem) return { kind: "unequal", words: `not equal: ${problem}` };
  if (!differ) return { kind: "near", words: `not equal: the pixels are, the file is not (${texts || "packed otherwise"})` };
  const others = texts ? `; other ${texts}` : "";
  return { kind: "unequal", words: `not equal: ${differ} pixels of ${of} differ${others}` };
}

function lack(receipt, models, known) {
  if (known.length) {
    const name = otherIn(receipt, known[0]);
    return `${known[0].name} has another ${name} here: ${known[0][name] || "none"}, not ${receipt[name] || "none"}`;
  }
  const isNamed = models.some(({ name }) => name === receipt.model);
  return isNamed ? `${receipt.model} has other weights here` : "no model with its weights is loaded here";
}

function otherIn(receipt, model) {
  return SAME.find((name) => receipt[name] !== model[name]);
}
