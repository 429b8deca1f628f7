// One thing in the place of another as long as space, or a button, is held. Never by itself: what flashes more than
// three times a second harms people (WCAG 2.3.1). Knows keys and pointers; what is shown meanwhile, its view knows.
import { html } from "./lit-html.js";
import { changed } from "./page.js";

const TYPED_INTO = "input, textarea, select, [contenteditable], dialog";
const PRESSED = "button:not(.flicker), a, summary";

/** A button and the space key as one. `isShown` says whether there is anything to flicker. */
export class Flicker {
  #isByPointer = false; // whether what has the focus got it by a pointer: then space is not meant for it

  constructor(isShown) {
    this.isHeld = false;
    this.isShown = isShown;
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => this.#keyUp(event));
    addEventListener("pointerdown", () => { this.#isByPointer = true; }, { capture: true });
    addEventListener("blur", () => this.hold(false));
  }

  /** Shows the one, or the other. */
  hold(isHeld) {
    if (this.isHeld === isHeld) return;
    this.isHeld = isHeld;
    changed();
  }

  /** The button. Enter, or a screen reader's click, holds it until the next one. */
  button(title) {
    const release = () => this.hold(false);
    return html`<button type="button" class="flicker" title=${title} aria-pressed=${this.isHeld ? "true" : "false"}
      @pointerdown=${(event) => event.button === 0 && this.hold(true)} @pointerup=${release} @pointerleave=${release}
      @pointercancel=${release} @contextmenu=${(event) => event.preventDefault()}
      @click=${(event) => event.detail === 0 && this.hold(!this.isHeld)}>Flicker</button>`;
  }

  #keyDown(event) {
    if (event.key === "Tab") this.#isByPointer = false;
    if (event.key !== " " || event.ctrlKey || event.altKey || event.metaKey || !this.isShown()) return;
    if (event.target.closest?.(this.#isByPointer ? TYPED_INTO : `${TYPED_INTO}, ${PRESSED}`)) return;
    event.preventDefault(); // neither a click nor scrolling
    this.hold(true);
  }

  #keyUp(event) {
    if (event.key !== " " || !this.isHeld) return;
    event.preventDefault(); // where clicks come from keyup
    this.hold(false);
  }
}
