// The API key, where the service wants one: asked for once, kept for the tab, sent as a header, never in a URL.
import { html, nothing } from "./lit-html.js";
import { remember, remembered } from "./storage.js";

let asked = null; // the promise of a key that somebody is being asked for, with what ends it
let isWrong = false;
let redraw = () => {};

/** Says what is to be called when the question is put or answered. */
export function questionShownBy(changed) {
  redraw = changed;
}

/** The key that is kept; empty if there is none. */
export function keyFor() {
  return remembered("sessionStorage", "key");
}

/** Waits until there is another key than the one that was refused; everybody waits for the same one. */
export function wantKey(refused, signal) {
  if (keyFor() !== refused) return Promise.resolve();
  if (!asked) {
    isWrong = refused !== "";
    asked = Promise.withResolvers();
    redraw();
  }
  return Promise.race([asked.promise, ended(signal)]);
}

/** Whether a key is being asked for. */
export function isKeyWanted() {
  return asked !== null;
}

/** The question, while it is open. */
export function keyDialog() {
  if (!asked) return nothing;
  const stay = (event) => event.preventDefault(); // without a key there is nothing to go back to
  return html`<dialog id="key" class="sheet small" aria-labelledby="key-title" @cancel=${stay}>
    <form @submit=${answer}>
      <h2 id="key-title">An API key, please</h2>
      <p>This service answers to keys. Yours is kept in this tab alone, until it is closed.</p>
      <label for="key-text">API key</label>
      <input id="key-text" type="password" autocomplete="off" spellcheck="false" required
        aria-describedby="key-fault" aria-invalid=${isWrong ? "true" : "false"}>
      <p id="key-fault" class="fault">${isWrong ? "The service knows no such key." : ""}</p>
      <div class="row"><button class="strong">Use this key</button></div>
    </form>
  </dialog>`;
}

function answer(event) {
  event.preventDefault();
  remember("sessionStorage", "key", event.target.querySelector("input").value.trim());
  const { resolve } = asked;
  asked = null;
  resolve();
  redraw();
}

function ended(signal) {
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason), { once: true }));
}
