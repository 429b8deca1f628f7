// A picture's tile: noise, then looks at it on its way, then the picture, with a ring that tells how far it is.
import { html, nothing, svg } from "./lit-html.js";
import { className, modelNamed } from "./page.js";

const NOISE_SIDE = 48;
const COARSE = 160; // pixels a side up to which a picture is shown in squares, as it is

/** The tile of a cell of a run; `caption` is shown beneath, `open` is called on a click. */
export function tile(cell, { caption, open }) {
  const { request, image, state, look } = cell;
  const isCoarse = (modelNamed(request.model)?.resolution ?? 256) <= COARSE;
  return html`<button type="button" class="tile ${state}" aria-label=${nameOf(cell)} .cell=${cell}
    @click=${() => open(cell)}>
    <span class="frame">
      ${state === "failed"
        ? html`<span class="words">${cell.problem?.title ?? "failed"}</span>`
        : html`<img alt="" class=${image ? (isCoarse ? "picture coarse" : "picture") : look ? "look" : "noise"}
            src=${image?.url ?? (look || noise())}>`}
      ${state === "running" || state === "queued" || state === "waiting" ? ring(cell.step / cell.steps) : nothing}
    </span>
    <span class="caption">${caption}</span>
  </button>`;
}

/** A cell in words: "golden retriever, seed 5, step 12 of 50". */
export function nameOf({ request, state, step, steps }) {
  const ends = { waiting: "waiting", queued: "in the queue", running: `step ${step} of ${steps}` };
  return `${className(request.model, request.class_id)}, seed ${request.seed}, ${ends[state] ?? state}`;
}

function ring(share) {
  return html`<svg class="ring" viewBox="0 0 24 24" aria-hidden="true">
    <circle class="track" cx="12" cy="12" r="9"/>
    ${svg`<circle class="way" cx="12" cy="12" r="9" pathLength="100" stroke-dasharray="100"
      stroke-dashoffset=${100 - 100 * share} transform="rotate(-90 12 12)"/>`}
  </svg>`;
}

let noisePicture = "";

function noise() {
  if (noisePicture) return noisePicture;
  const canvas = Object.assign(document.createElement("canvas"), { width: NOISE_SIDE, height: NOISE_SIDE });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(NOISE_SIDE, NOISE_SIDE);
  for (let k = 0; k < pixels.data.length; k += 1) {
    pixels.data[k] = k % 4 === 3 ? 255 : Math.min(255, Math.max(0, 128 + 70 * (Math.random() + Math.random() - 1) * 2));
  }
  context.putImageData(pixels, 0, 0);
  noisePicture = canvas.toDataURL();
  return noisePicture;
}
