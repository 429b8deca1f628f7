// The API key, where the service wants one: asked for once, kept for the tab, sent as a header, never in a URL.
import { html, nothing } from "./lit-html.js";
import { changed, remember, remembered } from "./page.js";

let question = null; // a promise of the key, with what resolves it, while somebody is being asked
let isWrong = false;

/** The key that is kept; empty if there is none. */
export function keyFor() {
  return remembered("sessionStorage", "key");
}

/** Waits until there is another key than the one that was refused; all wait for the same one. */
export function wantKey(refused, signal) {
  if (keyFor() !== refused) return null;
  isWrong ||= refused !== "";
  question ??= Promise.withResolvers();
  changed();
  const left = new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  return Promise.race([question.promise, left]);
}

/** The question, while it is open. */
export function keyDialog() {
  if (!question) return nothing;
  const stay = (event) => event.preventDefault(); // without a key there is nothing to go back to
  return html`<dialog id="key" class="sheet small" aria-labelledby="key-title" @cancel=${stay}>
    <form @submit=${answer}>
      <h2 id="key-title">An API key, please</h2>
      <p>This service answers to keys. Yours is kept in this tab alone, until it is closed.</p>
      <label for="key-text">API key</label>
      <input id="key-text" type="password" autocomplete="off" required
        aria-describedby="key-fault" aria-invalid=${String(isWrong)}>
      <p id="key-fault" class="fault">${isWrong ? "The service knows no such key." : ""}</p>
      <button class="strong">Use this key</button>
    </form>
  </dialog>`;
}

function answer(event) {
  event.preventDefault();
  remember("sessionStorage", "key", event.target.querySelector("input").value.trim());
  question.resolve();
  question = null;
  changed();
}
