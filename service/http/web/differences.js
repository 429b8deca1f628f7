// How the pictures of pairs differ: each pair is compared once for a factor, one after the other, as soon as both of
// its pictures are there. Knows cells and words; how pixels are compared, pixels.js knows.
import { announce, changed } from "./page.js";
import { compared } from "./pixels.js";

/** The differences of pairs [left cell, right cell]. */
export class Differences {
  #found = new Map(); // by pair: what `compared` says, with the factor that is wanted and the one that is drawn
  #last = Promise.resolve();

  constructor(pairs) {
    this.pairs = pairs;
  }

  /** How a pair differs as far as it is known, null before it has both pictures; `drawn` is its canvas's factor. */
  of(pair, factor) {
    if (pair.some(({ image }) => !image)) return null;
    const known = this.#found.get(pair);
    if (known?.factor !== factor) {
      this.#found.set(pair, { ...known, factor });
      this.#last = this.#last.then(() => this.#compare(pair));
    }
    return this.#found.get(pair);
  }

  /** All of them in words. */
  summary() {
    const known = [...this.#found.values()].filter(({ drawn, problem }) => drawn && !problem);
    if (!known.length) return "";
    const sum = (name) => known.reduce((total, each) => total + each[name], 0);
    const differing = known.filter(({ differ }) => differ).length;
    const share = `${((100 * sum("differ")) / sum("of")).toPrecision(2)} % of all pixels`;
    const most = Math.max(...known.map(({ largest }) => largest));
    const all = this.pairs.length;
    const count = `${known.length < all ? `${known.length} of ` : ""}${all} ${all === 1 ? "pair" : "pairs"}`;
    const extent = differing ? ` in ${share}, by at most ${most} of 255` : "";
    return `${count}: ${known.length - differing} equal, ${differing} different${extent}`;
  }

  async #compare(pair) {
    const { factor, drawn: before } = this.#found.get(pair);
    if (before === factor) return; // it was wanted otherwise for a moment
    const [one, other] = pair.map(({ image }) => image.bytes);
    const result = await compared(one, other, factor);
    this.#found.set(pair, { ...result, factor: this.#found.get(pair).factor, drawn: factor });
    if (!before && this.pairs.every((each) => this.#found.get(each)?.drawn)) announce(this.summary());
    changed();
  }
}

/** A difference in words: "12 of 4096 pixels differ, by at most 3 of 255". */
export function inWords({ drawn, problem, differ, of, largest }) {
  if (!drawn) return "comparing";
  return problem || `${differ} of ${of} pixels differ${differ ? `, by at most ${largest} of 255` : ""}`;
}
