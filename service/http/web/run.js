// Pictures that are wanted together: asked for in one batch, and followed to their ends whatever comes between.
// A full queue is waited for as long as the service says; what a lost connection took is asked for again. A picture's
// bytes are a function of its request: what comes then is what would have come, and what is here need not come again.
import { ask, events, Problem, toJson } from "./api.js";
import { announce, changed, modelNamed, state } from "./page.js";

export const MOST_REQUESTS = 64; // of one batch
const LOOKS = 9; // previews that are wanted of each picture
const TRIES = 8; // of a lost connection, a second apart at first, and twice as long each time
const MOST_BYTES = 64 << 20; // of the pictures that are kept

const kept = new Map(); // by what made them, the last used ones last
const forgotten = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** The pictures of complete bodies of POST /generate; with `fresh`, none is taken from those that are here. */
export class Run {
  constructor(requests, { fresh = false } = {}) {
    this.cells = requests.map((request) => {
      const image = fresh ? null : keptOf(request);
      const at = { step: 0, steps: request.steps, look: "", image: image ?? null, problem: null };
      return { request, state: image ? "done" : "waiting", ...at };
    });
    this.state = "running"; // or waiting; then done, stopped or failed
    this.waitSeconds = 0; // until the next try, while it waits
    this.reason = ""; // why it waits
    this.aborter = new AbortController();
  }

  get isOver() {
    return ["done", "stopped", "failed"].includes(this.state);
  }

  /** Has the pictures made; returns when all have ended. */
  async start() {
    const wanted = this.cells.filter(isOpen);
    try {
      for (let k = 0; k < wanted.length; k += MOST_REQUESTS) await this.#see(wanted.slice(k, k + MOST_REQUESTS));
    } catch (error) {
      const problem = error.facts ?? { title: "The service cannot be reached", detail: String(error) };
      for (const cell of this.cells.filter(isOpen)) Object.assign(cell, { state: "failed", problem });
    }
    if (!this.isOver) this.state = this.#count("failed") ? "failed" : "done";
    if (wanted.length) announce(`${this.#count("done")} of ${this.cells.length} pictures done`);
    changed();
  }

  /** Gives up what is not done: the service frees the places at the next step. */
  stop() {
    if (this.isOver) return;
    this.state = "stopped";
    for (const cell of this.cells.filter(isOpen)) cell.state = "stopped";
    this.aborter.abort();
    changed();
  }

  #count(word) {
    return this.cells.filter((cell) => cell.state === word).length;
  }

  async #see(cells) {
    for (let tries = 0, left; (left = cells.filter(isOpen)).length; ) {
      const steps = stepsMade(left);
      try {
        await this.#stream(left);
      } catch (error) {
        this.aborter.signal.throwIfAborted();
        const isLost = error instanceof TypeError; // so `fetch` says it
        tries = stepsMade(left) > steps ? 1 : tries + 1;
        const seconds = isLost && tries < TRIES ? 2 ** (tries - 1) : error.retrySeconds;
        if (!seconds) throw error;
        await this.#wait(seconds, isLost ? "The service cannot be reached." : error.message);
      }
    }
  }

  async #stream(cells) {
    const { signal } = this.aborter;
    const every = ({ steps }) => Math.max(1, Math.floor(steps / LOOKS));
    const requests = cells.map(({ request }) => ({ ...request, preview_every: every(request) }));
    const answer = await ask("v1/batch", { body: { requests }, accept: "text/event-stream", signal });
    this.state = "running";
    for await (const { event, data } of events(answer)) {
      if (event === "failed" && data.index === undefined) throw new Problem(data, data.status === 503 ? 1 : null);
      if (event === "queued") for (const cell of cells) cell.state = "queued";
      else told[event]?.(cells[data.index], data);
      changed();
    }
    if (cells.some(isOpen)) throw new TypeError("the answer ended before the pictures");
  }

  async #wait(seconds, reason) {
    Object.assign(this, { state: "waiting", reason });
    announce(`${reason} Trying again in ${Math.ceil(seconds)} seconds.`);
    const until = performance.now() + 1000 * seconds;
    while ((this.waitSeconds = (until - performance.now()) / 1000) > 0) {
      changed();
      await new Promise((resolve) => setTimeout(resolve, Math.min(250, 1000 * this.waitSeconds)));
      this.aborter.signal.throwIfAborted();
    }
  }
}

/** Seconds that requests would take by what the service says of itself; null if it does not know. */
export function secondsOf(requests) {
  if (!state.status?.ready) return null;
  const { models, queue, workers_up: workers } = state.status;
  let seconds = queue.seconds;
  for (const [name, { step_seconds, image_seconds, places }] of Object.entries(models)) {
    const mine = requests.filter(({ model }) => model === name);
    if (mine.length && step_seconds === null) return null;
    seconds += (stepsOf(mine) / places * step_seconds + mine.length * image_seconds) / workers;
  }
  return seconds;
}

/** Evaluations of the network that requests take: two a step with guidance, one without. */
export function stepsOf(requests) {
  return requests.reduce((sum, { cfg, steps }) => sum + steps * (cfg === 1 ? 1 : 2), 0);
}

const told = {
  progress: (cell, { step }) => Object.assign(cell, { state: "running", step }),
  preview: (cell, { b64_png }) => (cell.look = `data:image/png;base64,${b64_png}`),
  completed: (cell, data) => Object.assign(cell, { state: "done", image: keep(cell.request, data) }),
  failed: (cell, problem) => Object.assign(cell, { state: "failed", problem }),
};

/** A URL of a blob that lives as long as its owner does. */
export function urlFor(owner, blob) {
  const url = URL.createObjectURL(blob);
  forgotten.register(owner, url);
  return url;
}

function isOpen({ state: word }) {
  return ["waiting", "queued", "running"].includes(word);
}

function stepsMade(cells) {
  return cells.reduce((sum, { step }) => sum + step, 0);
}

/** The picture in an image of the API: {bytes, url, receipt, timing}; its URL lives as long as it does. */
function keep(request, { b64_png, timing_ms: timing, index, image, request_id, ...receipt }) {
  const bytes = Uint8Array.from(atob(b64_png), (letter) => letter.charCodeAt(0));
  const picture = { bytes, receipt, timing };
  picture.url = urlFor(picture, new Blob([bytes], { type: "image/png" }));
  kept.set(nameOf(request), picture);
  let size = [...kept.values()].reduce((sum, each) => sum + each.bytes.length, 0);
  for (const [name, each] of kept) {
    if (size <= MOST_BYTES) break;
    size -= each.bytes.length;
    kept.delete(name);
  }
  return picture;
}

function keptOf(request) {
  const name = nameOf(request);
  const picture = kept.get(name);
  if (picture && kept.delete(name)) kept.set(name, picture);
  return picture;
}

function nameOf({ model, class_id, cfg, steps, sampler, seed }) {
  return toJson([modelNamed(model).weights_sha256, model, class_id, cfg, steps, sampler, seed]);
}
