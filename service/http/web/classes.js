// Finding a class by its names or its id, ranked as the service ranks (models/labels.py). Knows no page.

const MOST_RECENT = 8;

/** The classes that a text means, best first: [{class_id, name, names}]; all for an empty text.
 *
 * A name that is the text comes first, then names that begin with it, then those with all of its words anywhere;
 * equals in order of id. Digits mean the class of that id, then ids that begin so. */
export function search(classes, text) {
  const wanted = folded(text);
  const found = [];
  for (const each of classes) {
    const best = ranked(each, wanted);
    if (best) found.push({ ...best, class_id: each.class_id, names: each.names });
  }
  return found.sort((a, b) => a.rank - b.rank || a.class_id - b.class_id);
}

/** The ids used last, with one more, the newest first. */
export function withRecent(recent, classId) {
  return [classId, ...recent.filter((each) => each !== classId)].slice(0, MOST_RECENT);
}

function ranked({ class_id, names }, wanted) {
  let best = null;
  if (/^\d+$/.test(wanted)) {
    const id = String(class_id);
    if (id === String(Number(wanted))) return { rank: -2, name: names[0] ?? "" };
    if (id.startsWith(wanted)) best = { rank: -1, name: names[0] ?? "" };
  }
  if (wanted === "") return { rank: 0, name: names[0] ?? "" };
  for (const name of names) {
    const rank = rankOf(folded(name), wanted);
    if (rank !== null && (best === null || rank < best.rank)) best = { rank, name };
  }
  return best;
}

function rankOf(name, wanted) {
  if (name === wanted) return 0;
  if (name.startsWith(wanted)) return 1;
  return wanted.split(" ").every((word) => name.includes(word)) ? 2 : null;
}

function folded(text) {
  return text.toLowerCase().replaceAll("ß", "ss").split(/\s+/).filter(Boolean).join(" ");
}
