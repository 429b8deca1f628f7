// A picture's tile: noise, then looks at it on its way, then the picture, with a ring that tells how far it is.
import { html, nothing } from "./lit-html.js";
import { className, modelNamed } from "./page.js";

const NOISE_SIDE = 48;
const COARSE = 160; // pixels a side up to which a picture is shown in squares, as it is

let noisePicture = "";

/** The tile of a cell of a run; `caption` is shown beneath, `open` is called on a click. */
export function tile(cell, { caption, open }) {
  const { request, image, state, look, step, steps, problem } = cell;
  const kind = image ? coarseness(modelNamed(request.model).resolution) : look ? "look" : "noise";
  const ends = { waiting: "waiting", queued: "in the queue", running: `step ${step} of ${steps}` };
  const words = state === "failed" ? `, ${problem.title}` : ""; // as they are seen in its place
  const name = `${className(request.model, request.class_id)}${words}, seed ${request.seed}, ${ends[state] ?? state}`;
  return html`<button type="button" class="tile ${state}" aria-label=${name} .cell=${cell} @click=${() => open(cell)}>
    <span class="frame">${state === "failed"
      ? html`<span class="words">${problem.title}</span>`
      : html`<img alt="" class=${kind} src=${image?.url ?? (look || noise())}>`}
      ${state in ends
        ? html`<svg class="ring" viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="9"/><circle
            class="way" cx="12" cy="12" r="9" pathLength="100" stroke-dasharray="100" transform="rotate(-90 12 12)"
            stroke-dashoffset=${100 - (100 * step) / steps}/></svg>`
        : nothing}</span>
    <span class="caption">${caption}</span>
  </button>`;
}

/** How a picture of so many pixels a side is enlarged, as a class of CSS. */
export function coarseness(resolution) {
  return resolution <= COARSE ? "coarse" : "";
}

function noise() {
  if (noisePicture) return noisePicture;
  const canvas = Object.assign(document.createElement("canvas"), { width: NOISE_SIDE, height: NOISE_SIDE });
  const pixels = new ImageData(NOISE_SIDE, NOISE_SIDE);
  pixels.data.forEach((_, k) => (pixels.data[k] = k % 4 === 3 ? 255 : 128 + 140 * (Math.random() + Math.random() - 1)));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return (noisePicture = canvas.toDataURL());
}
