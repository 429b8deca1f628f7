// Lists of numbers as people write them: 4, 1..4, 1..4/0.5, 4..1.
//
// A decimal is reckoned as a whole number of its last place, so 1..2/0.1 has 1.1 in it and ends with 2. An integer that
// no number is exact for is a BigInt. Knows nothing of what the numbers are for.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)$/;

/** What "4" or "1..4/0.5" says, null if it is no number and no range.
 *
 * {ends, count, isEndless, values()}: the two ends, the same one for a single number; how many values it has, as a
 * BigInt, and what they are; isEndless where the step is not above 0, and then there are none. */
export function readRange(item) {
  const parts = /^([^/]*?)(?:\.\.([^/]*?)(?:\/(.*))?)?$/.exec(item);
  if (!parts) return null;
  const [first, last = first, step = "1"] = parts.slice(1).map((part) => part?.trim());
  if (![first, last, step].every((part) => NUMBER.test(part))) return null;
  const places = Math.max(...[first, last, step].map((part) => part.split(".")[1]?.length ?? 0));
  const [from, to, by] = [first, last, step].map((part) => scaled(part, places));
  const ends = [valueOf(from, places), valueOf(to, places)];
  if (by <= 0n) return { ends, count: 0n, isEndless: true, values: () => [] };
  const count = (from < to ? to - from : from - to) / by + 1n;
  const stride = from < to ? by : -by;
  const values = () => Array.from({ length: Number(count) }, (_, k) => valueOf(from + BigInt(k) * stride, places));
  return { ends, count, isEndless: false, values };
}

/** A decimal in units of its last of so many places. */
function scaled(text, places) {
  const [whole, fraction = ""] = text.replace(/^[+-]/, "").split(".");
  const size = BigInt(whole + fraction.padEnd(places, "0"));
  return text.startsWith("-") ? -size : size;
}

function valueOf(size, places) {
  const unit = 10n ** BigInt(places);
  const [sign, rest] = size < 0n ? ["-", -size] : ["", size];
  const number = Number(`${sign}${rest / unit}.${String(rest % unit).padStart(places, "0")}`);
  return size % unit === 0n && !Number.isSafeInteger(number) ? size / unit : number;
}
