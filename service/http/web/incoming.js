// Files that come to the page: dropped anywhere on it, alone or in folders, or pasted. They are only handed on.
// Knows the browser's events; not what the files are for.

/** Listens for files. `take` gets those that came; `hover` is told whether some are held over the page. */
export function listenForFiles({ most, take, hover }) {
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser would leave the page for the file
    hover(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) hover(false);
  });
  addEventListener("drop", async (event) => {
    hover(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(await filesOf(event.dataTransfer, most));
  });
  addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (!files.length) return;
    event.preventDefault();
    take([...files]);
  });
}

function hasFiles({ dataTransfer }) {
  return dataTransfer.types.includes("Files");
}

async function filesOf({ items, files }, most) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const all = [...files]; // before anything is waited for: afterwards they are gone
  if (!entries.some(({ isDirectory }) => isDirectory)) return all;
  const found = [];
  for (const entry of entries) await gather(entry, found, most, entry.isFile);
  return found;
}

/** Adds the PNGs in a folder and those in it; one more than `most` at most, so that it can be told that there are. */
async function gather(entry, found, most, isChosen) {
  if (found.length > most) return;
  if (entry.isFile) {
    if (isChosen || /\.png$/i.test(entry.name)) found.push(await asked((...ways) => entry.file(...ways)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await asked((...ways) => reader.readEntries(...ways)); // a hundred at a time
    if (!some.length) return;
    for (const each of some) await gather(each, found, most, false);
  }
}

function asked(work) {
  return new Promise((resolve, reject) => work(resolve, reject));
}
