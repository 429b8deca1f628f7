// Runs in every page before its own scripts: reports what the content security policy refused, keeps what became a
// blob: URL (the policy lets nobody fetch one), and writes down how tiles change. Knows of the page only the class `tile`.
(() => {
  const blobs = new Map();
  const create = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    const url = create.call(URL, blob);
    blobs.set(url, blob);
    return url;
  };

  addEventListener("securitypolicyviolation", (event) => {
    window.reportViolation(`${event.violatedDirective} refused ${event.blockedURI || "inline"}`);
  });

  const base64 = (blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });

  const looks = [];
  const note = (tile) => {
    const index = [...document.querySelectorAll(".tile")].indexOf(tile);
    const picture = tile.querySelector("img")?.src ?? "";
    looks.push({ index, picture, name: tile.getAttribute("aria-label") ?? tile.textContent.trim() });
  };
  const elementOf = (node) => (node instanceof Element ? node : node.parentElement);
  new MutationObserver((changes) => {
    new Set(changes.map(({ target }) => elementOf(target)?.closest(".tile")).filter(Boolean)).forEach(note);
  }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });

  window.watched = {
    looks,
    bytes: async (url) => base64(blobs.get(url)),
  };
})();
