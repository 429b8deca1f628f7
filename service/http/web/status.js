// The corner: whether the service is ready, how much work it has, and what a picture takes as the form stands.
import { ask, fromJson } from "./api.js";
import { html } from "./lit-html.js";
import { announce, changed, learnModels, state } from "./page.js";
import { secondsOf } from "./run.js";

const EVERY_MS = 1000;

/** Asks the service how it is as long as the page is seen; `known` is called when it is told first what is loaded. */
export async function watchStatus(known) {
  for (let isAway = true; ; await new Promise((resolve) => setTimeout(resolve, EVERY_MS))) {
    if (document.hidden) continue;
    const [before, isFirst] = [wordsOf(state), !state.models.length];
    try {
      state.status = fromJson(await (await ask("v1/status")).text());
      state.trouble = state.status.ready ? "" : state.status.reason;
      if (state.status.ready && isAway) await learnModels(); // what is loaded may be something else since
      isAway = !state.status.ready;
    } catch (error) {
      state.status = null;
      state.trouble = error.facts ? error.message : "The service cannot be reached; this page tries again.";
      isAway = true;
    }
    if (before !== wordsOf(state)) announce(`The service is ${wordsOf(state)}`);
    if (isFirst && state.models.length) known();
    changed();
  }
}

/** The corner. */
export function corner() {
  const { status, form: { n, ...request } } = state;
  const kind = status === null ? "bad" : status?.ready ? "good" : "";
  const { running, waiting } = status?.queue ?? {};
  const seconds = secondsOf([request]);
  const words = [
    status?.ready && (running + waiting ? `${running} running, ${waiting} waiting` : "nothing to do"),
    seconds !== null && `${duration(seconds)} a picture`,
  ];
  return html`<p class="corner" role="group" aria-label="Service"><span class="dot ${kind}"></span>
    ${wordsOf(state)} <span class="muted">${words.filter(Boolean).join(" · ")}</span></p>`;
}

/** Seconds in words: "0.4 s", "12 s", "3 min". */
export function duration(seconds) {
  if (seconds >= 120) return `${Math.round(seconds / 60)}\u00a0min`;
  return `${seconds.toFixed(seconds < 0.1 ? 2 : seconds < 10 ? 1 : 0)}\u00a0s`;
}

function wordsOf({ status }) {
  if (status === undefined) return "…";
  return status ? (status.ready ? "ready" : "not ready") : "away";
}
