// The contact sheet of a sweep: one PNG, with what is fixed above it and the values of both axes at its edges.
// Pictures keep their pixels, each a square of whole pixels; dark on white whatever the page looks like. Knows no page.
import { decoded } from "./pixels.js";

const MARGIN = 24;
const GAP = 8;
const LINE = 18;
const LEAST_CELL = 128; // pixels, so that a header has room
const MOST_HEADER = 160; // pixels, of a row's
const FONT = "13px system-ui, sans-serif";

/** The sheet of {title, axes: [of columns, of rows], columns: [text], rows: [text], cells: of a run, row by row}. */
export async function drawSheet({ title, axes: [xTitle, yTitle], columns, rows, cells }) {
  const bitmaps = await Promise.all(cells.map(({ image }) => image && decoded(image.bytes)));
  const pixels = Math.max(1, ...bitmaps.map((bitmap) => bitmap?.width ?? 0));
  const side = pixels * Math.ceil(LEAST_CELL / pixels);
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const wide = (text) => context.measureText(text).width;

  context.font = FONT;
  const rowLines = rows.map((text) => wrapped(text, MOST_HEADER, wide));
  const columnLines = columns.map((text) => wrapped(text, side, wide));
  const left = MARGIN + Math.ceil(Math.max(...[yTitle, ...rowLines.flat()].map(wide))) + (yTitle ? 2 * GAP : 0);
  const width = Math.max(400, left + columns.length * (side + GAP) + MARGIN);
  const titleLines = wrapped(title, width - 2 * MARGIN, wide);
  const headTop = MARGIN + (titleLines.length + 2) * LINE;
  const top = headTop + Math.max(...columnLines.map(({ length }) => length)) * LINE + GAP;

  Object.assign(canvas, { width, height: top + rows.length * (side + GAP) + MARGIN });
  Object.assign(context, { font: FONT, textBaseline: "top", fillStyle: "#fff", imageSmoothingEnabled: false });
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#16181d";
  const write = (lines, x, y) => lines.forEach((line, k) => context.fillText(line, x, y + k * LINE));
  write(titleLines, MARGIN, MARGIN);
  write([xTitle], left, headTop - LINE);
  write([yTitle], MARGIN, top - LINE - GAP);
  columnLines.forEach((lines, k) => write(lines, left + k * (side + GAP), headTop));
  rowLines.forEach((lines, k) => write(lines, MARGIN, top + k * (side + GAP)));
  bitmaps.forEach((bitmap, k) => {
    const x = left + (k % columns.length) * (side + GAP);
    const y = top + Math.floor(k / columns.length) * (side + GAP);
    const own = bitmap ? bitmap.width * Math.floor(side / bitmap.width) : 0;
    const inset = Math.floor((side - own) / 2);
    if (bitmap) context.drawImage(bitmap, x + inset, y + inset, own, own);
    else {
      context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
      write([cells[k].state], x + GAP, y + GAP);
    }
  });
  return new Promise((resolve) => canvas.toBlob(resolve));
}

/** A text in lines that fit a width, broken at spaces; a word that does not fit ends with an ellipsis. */
function wrapped(text, width, wide) {
  const lines = [];
  for (let word of text.split(" ")) {
    if (lines.length && wide(`${lines.at(-1)} ${word}`) <= width) word = `${lines.pop()} ${word}`;
    while (wide(word) > width) word = `${word.replace(/…$/, "").slice(0, -1)}…`;
    lines.push(word);
  }
  return lines;
}
