// Whether a picture of the gallery comes out again: the model that made it, its request, how what comes differs.
import { lackOf } from "./axes.js";
import { state } from "./page.js";
import { difference } from "./pixels.js";
import { readReceipt } from "./png.js";

const SAME = ["weights_sha256", "dtype", "precision", "weights", "resolution", "guidance_channels"];

/** The model that can make a row's picture, whatever it is called, or why there is none: {model, problem}. */
export function makerOf({ receipt }) {
  const fitting = state.models.filter((model) => SAME.every((name) => model[name] === receipt[name]));
  const model = fitting.find(({ name }) => name === receipt.model) ?? fitting[0];
  const problem = model ? lackOf(receipt, [], [model]) : "no model with its weights and format is loaded";
  return { model, problem };
}

/** The request for a row's picture, null where there is none. */
export function requestOf(row) {
  if (!row.receipt || makerOf(row).problem) return null; // else all others were refused with it
  const { class_id, cfg, steps, sampler, seed } = row.receipt;
  return { model: makerOf(row).model.name, class_id, cfg, steps, sampler, seed };
}

/** How what was made again differs from the file. */
export async function compared({ bytes, receipt, cell: { image, problem } }) {
  if (!image) return problem ? problem.detail || problem.title : "";
  if (bytes.length === image.bytes.length && bytes.every((byte, k) => byte === image.bytes[k])) return "equal";
  const { differ, of, problem: why } = await difference(bytes, image.bytes);
  const made = readReceipt(image.bytes);
  const other = Object.keys(made).filter((name) => made[name] !== receipt[name]).join(", ");
  const rest = other && `; other ${other}`;
  return why ? `not equal: ${why}` : `not equal: ${differ} of ${of} pixels differ${rest}`;
}
