// What the browser keeps: for the tab (sessionStorage) or for good (localStorage). Where it keeps nothing, memory does.
const fallback = new Map();

/** Keeps a text; the empty one is forgotten. */
export function remember(storage, name, text) {
  fallback.set(storage + name, text);
  try {
    window[storage].setItem(`dit-serve ${name}`, text);
  } catch {
    // a browser that keeps nothing: it is remembered as long as the page is open
  }
}

/** What was kept; empty if nothing. */
export function remembered(storage, name) {
  try {
    return window[storage].getItem(`dit-serve ${name}`) ?? "";
  } catch {
    return fallback.get(storage + name) ?? "";
  }
}
