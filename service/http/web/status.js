// The corner: whether the service is ready, how much work it has, and what a picture takes as the form stands.
import { ask, fromJson, Problem } from "./api.js";
import { html, nothing } from "./lit-html.js";
import { announce, changed, learnModels, state } from "./page.js";
import { secondsOf } from "./run.js";

const EVERY_MS = 2000;

let isAway = true; // what was loaded may be something else since

/** Asks the service how it is, every two seconds as long as the page is seen; `known` is called when it has told first
 * what it has loaded. */
export async function watchStatus(known) {
  for (;;) {
    const wasKnown = state.models.length > 0;
    if (!document.hidden) await look();
    if (!wasKnown && state.models.length) known();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

/** The corner's words. */
export function corner() {
  const { status } = state;
  const kind = !status ? "bad" : status.ready ? "good" : "waiting";
  return html`<p class="corner" aria-label="Service" role="group">
    <span class="dot ${kind}"></span>
    <span>${wordsOf(status)}</span>
    ${status?.ready ? html`<span class="muted wide">${queueWords(status)}${paceWords()}</span>` : nothing}
  </p>`;
}

/** Seconds in words: "0.4 s", "12 s", "3 min". */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

async function look() {
  const before = wordsOf(state.status);
  try {
    state.status = fromJson(await (await ask("v1/status")).text());
    state.trouble = state.status.ready ? "" : state.status.reason;
    if (state.status.ready && isAway) await learnModels();
    isAway = !state.status.ready;
  } catch (error) {
    isAway = true;
    state.status = null;
    state.trouble = error instanceof Problem ? error.message : "The service cannot be reached; this page tries again.";
  }
  if (before !== wordsOf(state.status)) announce(`The service is ${wordsOf(state.status)}`);
  changed();
}

function wordsOf(status) {
  if (!status) return "away";
  return status.ready ? "ready" : "not ready";
}

function queueWords({ queue }) {
  const { running, waiting } = queue;
  return running + waiting === 0 ? "nothing to do" : `${running} running, ${waiting} waiting`;
}

function paceWords() {
  const { n, ...request } = state.form;
  const seconds = secondsOf([request]);
  return seconds === null ? "" : ` · ${duration(seconds)} a picture`;
}
