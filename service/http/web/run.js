// Pictures that are wanted together: asked for in one batch, followed to their ends, whatever comes between.
// A full queue is waited for as long as the service says; a connection that is lost is asked for again, and since a
// picture's bytes are a function of its request, what comes then is what would have come. Knows no view.
import { Problem, ask, events } from "./api.js";
import { announce, changed, state } from "./page.js";
import { keep, keptOf } from "./pictures.js";

export const MOST_REQUESTS = 64; // of one batch
const LOOKS = 9; // previews that are wanted of each picture
const LEAST_PATIENCE = 1; // seconds until a lost connection is tried again; twice as long each time
const MOST_PATIENCE = 16;
const TRIES = 8;

/** Pictures that are wanted together.
 *
 * requests: bodies of POST /generate with all that pixels depend on: model, class_id, cfg, steps, sampler, seed.
 * fresh: made by the service, even those that this page has already. */
export class Run {
  constructor(requests, { fresh = false } = {}) {
    this.cells = requests.map(newCell);
    this.fresh = fresh;
    this.state = "running"; // then waiting, and done, stopped or failed
    this.waitSeconds = 0; // until the next try, while it waits
    this.reason = ""; // why it waits, in the service's words
    this.etaSeconds = null; // until the last picture, as the service foresees it
    this.aborter = new AbortController();
  }

  /** Share of all steps that is done, 0 to 1. */
  get progress() {
    const done = this.cells.reduce((sum, cell) => sum + (isEnded(cell) ? cell.steps : cell.step), 0);
    return done / this.cells.reduce((sum, cell) => sum + cell.steps, 0);
  }

  get isOver() {
    return ["done", "stopped", "failed"].includes(this.state);
  }

  /** Has the pictures made; returns when all have ended. */
  async start() {
    if (!this.fresh) for (const cell of this.cells) has(cell, keptOf(cell.request));
    changed();
    const wanted = this.cells.filter((cell) => !isEnded(cell));
    try {
      for (let k = 0; k < wanted.length; k += MOST_REQUESTS) await this.#see(wanted.slice(k, k + MOST_REQUESTS));
      this.state = this.cells.some((cell) => cell.state === "failed") ? "failed" : "done";
    } catch (error) {
      if (!this.aborter.signal.aborted) this.#fail(error);
    }
    if (wanted.length) announce(this.#summary());
    changed();
  }

  /** Gives up what is not done: the service frees the places at the next step. */
  stop() {
    if (this.isOver) return;
    this.state = "stopped";
    for (const cell of this.cells) if (!isEnded(cell)) cell.state = "stopped";
    this.aborter.abort();
    changed();
  }

  async #see(cells) {
    let tries = 0;
    while (cells.some((cell) => !isEnded(cell))) {
      const left = cells.filter((cell) => !isEnded(cell));
      const before = this.progress;
      try {
        await this.#stream(left);
      } catch (error) {
        this.aborter.signal.throwIfAborted();
        tries = this.progress > before ? 0 : tries + 1;
        const seconds = patience(error, tries);
        if (seconds === null) throw error;
        await this.#wait(seconds, error instanceof Problem ? error.message : "The service cannot be reached.");
      }
    }
  }

  async #stream(cells) {
    const requests = cells.map(({ request }) => ({ ...request, preview_every: lookEvery(request.steps) }));
    const { signal } = this.aborter;
    const answer = await ask("v1/batch", { body: { requests }, accept: "text/event-stream", signal });
    this.state = "running";
    this.waitSeconds = 0;
    for await (const { event, data } of events(answer)) {
      if (event === "failed" && data.index === undefined) throw new Problem(data, data.status === 503 ? 1 : null);
      if (event === "queued") this.#queued(cells, data);
      else told(cells[data.index], event, data);
      changed();
    }
    if (cells.some((cell) => !isEnded(cell))) throw new TypeError("the answer ended before the pictures");
  }

  #queued(cells, data) {
    this.etaSeconds = data.eta_seconds;
    for (const cell of cells) if (cell.state === "waiting") cell.state = "queued";
  }

  async #wait(seconds, reason) {
    this.state = "waiting";
    this.reason = reason;
    announce(`${reason} Trying again in ${Math.ceil(seconds)} seconds.`);
    const until = performance.now() + 1000 * seconds;
    for (let left = seconds; left > 0; left = (until - performance.now()) / 1000) {
      this.waitSeconds = left;
      changed();
      await new Promise((resolve) => setTimeout(resolve, Math.min(250, 1000 * left)));
      this.aborter.signal.throwIfAborted();
    }
  }

  #fail(error) {
    this.state = "failed";
    const problem = error instanceof Problem ? error.facts : { title: "The page went wrong", detail: String(error) };
    for (const cell of this.cells) if (!isEnded(cell)) Object.assign(cell, { state: "failed", problem });
  }

  #summary() {
    const done = this.cells.filter((cell) => cell.state === "done").length;
    const failed = this.cells.filter((cell) => cell.state === "failed").length;
    const rest = this.cells.length - done - failed;
    return [`${done} of ${this.cells.length} pictures done`, failed && `${failed} failed`, rest && `${rest} stopped`]
      .filter(Boolean)
      .join(", ");
  }
}

/** Seconds that the service would need for these requests, by what it says of itself; null if that is not known. */
export function secondsOf(requests) {
  if (!state.status) return null;
  const { models, queue, workers_up: workers } = state.status;
  let seconds = queue.seconds;
  for (const [name, times] of Object.entries(models)) {
    const mine = requests.filter((request) => request.model === name);
    if (mine.length && times.step_seconds === null) return null;
    seconds += (stepsOf(mine) / times.places) * (times.step_seconds ?? 0) / Math.max(1, workers);
    seconds += mine.length * (times.image_seconds ?? 0) / Math.max(1, workers);
  }
  return seconds;
}

/** Evaluations of the network that requests take: two a step with guidance, one without. */
export function stepsOf(requests) {
  return requests.reduce((sum, { cfg, steps }) => sum + steps * (cfg === 1 ? 1 : 2), 0);
}

function newCell(request) {
  return { request, state: "waiting", step: 0, steps: request.steps, look: "", image: null, problem: null };
}

function isEnded(cell) {
  return ["done", "failed", "stopped"].includes(cell.state);
}

function has(cell, image) {
  if (image) Object.assign(cell, { state: "done", step: cell.steps, image });
}

function lookEvery(steps) {
  return Math.max(1, Math.floor(steps / LOOKS));
}

function told(cell, event, data) {
  if (event === "progress") Object.assign(cell, { state: "running", step: data.step });
  else if (event === "preview") cell.look = `data:image/png;base64,${data.b64_png}`;
  else if (event === "completed") has(cell, keep(cell.request, data));
  else if (event === "failed") Object.assign(cell, { state: "failed", problem: data });
}

/** Seconds to wait before the next try, null if another one is of no use. */
function patience(error, tries) {
  if (error instanceof Problem) return error.retrySeconds;
  return error instanceof TypeError && tries < TRIES
    ? Math.min(MOST_PATIENCE, LEAST_PATIENCE * 2 ** (tries - 1))
    : null;
}
