// The contact sheet of a sweep: one PNG, with what is fixed above it and the values of both axes at its edges.
//
// Pictures are drawn in their own pixels times a whole number, never smoothed, so their colours are those of the files.
// White with dark ink whatever the page looks like, since it goes into papers and chats. Knows no page and no run.
//
// A sheet is {title: [text], xTitle, yTitle, columns: [text], rows: [text], cells: [{side, bytes, word}]}: cells row by
// row; bytes of a PNG that has side pixels a side, or null, and then the word that says why.

const MARGIN = 24;
const GAP = 8;
const LINE = 18;
const LEAST_CELL = 128; // so that a header has room
const LEAST_WIDTH = 360; // so that the title has
const MOST_ROW_HEADER = 160;
const MOST_LINES = 3; // of a header
const FONTS = {
  title: "600 14px system-ui, sans-serif",
  axis: "12px system-ui, sans-serif",
  value: "600 13px system-ui, sans-serif",
};
const INKS = { title: "#16181d", axis: "#5b606b", value: "#16181d" };
const FRAME = "#c9ccd3";

/** Where everything of a sheet lies, in pixels; measure(text, font) is the width of a line.
 *
 * {width, height, boxes: [{x, y, side}] and pictures: [{x, y, side, scale}] in the order of the cells, and
 * texts: [{lines, x, y, style}]}. */
export function sheetLayout(sheet, measure = canvasMeasure()) {
  const lines = (text, width, style, most) => wrap(text, width, (part) => measure(part, FONTS[style]), most);
  const widest = (texts, style) => Math.ceil(Math.max(0, ...texts.map((text) => measure(text, FONTS[style]))));
  const pixels = Math.max(...sheet.cells.map((cell) => cell.side));
  const side = pixels * Math.ceil(LEAST_CELL / pixels);

  const columnLines = sheet.columns.map((text) => lines(text, side, "value", MOST_LINES));
  const rowLines = sheet.rows.map((text) => lines(text, MOST_ROW_HEADER, "value", MOST_LINES));
  const yLines = lines(sheet.yTitle, MOST_ROW_HEADER, "axis", 1);
  const left = MARGIN + withGap(Math.max(widest(rowLines.flat(), "value"), widest(yLines, "axis")));
  const width = Math.max(left + sheet.columns.length * (side + GAP) - GAP + MARGIN, LEAST_WIDTH);

  const titleLines = lines(sheet.title.map(unbroken).join(" · "), width - 2 * MARGIN, "title", Infinity);
  const xTop = MARGIN + titleLines.length * LINE + 2 * GAP;
  const headTop = xTop + LINE;
  const top = headTop + Math.max(...columnLines.map((each) => each.length)) * LINE + GAP / 2;

  const boxes = sheet.cells.map((_, k) => ({
    x: left + (k % sheet.columns.length) * (side + GAP),
    y: top + Math.floor(k / sheet.columns.length) * (side + GAP),
    side,
  }));
  const texts = [
    { lines: titleLines, x: MARGIN, y: MARGIN, style: "title" },
    { lines: lines(sheet.xTitle, width - left - MARGIN, "axis", 1), x: left, y: xTop, style: "axis" },
    { lines: yLines, x: MARGIN, y: top - GAP / 2 - LINE, style: "axis" },
    ...columnLines.map((each, k) => ({ lines: each, x: boxes[k].x, y: headTop, style: "value" })),
    ...rowLines.map((each, k) => ({ lines: each, x: MARGIN, y: top + k * (side + GAP), style: "value" })),
  ];
  const height = top + sheet.rows.length * (side + GAP) - GAP + MARGIN;
  return { width, height, boxes, pictures: sheet.cells.map((cell, k) => placed(cell, boxes[k])), texts };
}

/** The sheet as a PNG. */
export async function drawSheet(sheet) {
  const bitmaps = await Promise.all(sheet.cells.map((cell) => cell.bytes && decoded(cell.bytes)));
  const layout = sheetLayout(sheet);
  const canvas = new OffscreenCanvas(layout.width, layout.height);
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) throw tooLarge(layout);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, layout.width, layout.height);
  context.imageSmoothingEnabled = false;
  context.textBaseline = "top";
  for (const text of layout.texts) writeLines(context, text);
  bitmaps.forEach((bitmap, k) => {
    const { x, y, side } = layout.pictures[k];
    if (bitmap) context.drawImage(bitmap, x, y, side, side);
    else drawEmpty(context, layout.boxes[k], sheet.cells[k].word);
  });
  return canvas.convertToBlob({ type: "image/png" }).catch(() => {
    throw tooLarge(layout);
  });
}

/** A text in lines that fit a width, broken at spaces, slashes and dashes, within words only where nothing else helps.
 *
 * What does not go into so many lines ends with an ellipsis. */
export function wrap(text, width, measure, most) {
  const lines = [""];
  for (const word of text.split(/(?<=[ /_-])/)) {
    if (measure((lines.at(-1) + word).trimEnd()) <= width) {
      lines.push(lines.pop() + word);
      continue;
    }
    if (lines.at(-1)) lines.push("");
    for (const letter of word) {
      if (lines.at(-1) && measure((lines.at(-1) + letter).trimEnd()) > width) lines.push("");
      lines.push(lines.pop() + letter);
    }
  }
  const shown = lines.map((line) => line.trim()).filter(Boolean);
  if (shown.length <= most) return shown;
  let last = shown[most - 1];
  while (last && measure(`${last}…`) > width) last = [...last].slice(0, -1).join("");
  return [...shown.slice(0, most - 1), `${last.trimEnd()}…`];
}

function placed(cell, box) {
  const scale = Math.max(1, Math.floor(box.side / cell.side));
  const inset = Math.floor((box.side - cell.side * scale) / 2);
  return { x: box.x + inset, y: box.y + inset, side: cell.side * scale, scale };
}

function withGap(width) {
  return width === 0 ? 0 : width + 2 * GAP;
}

function unbroken(text) {
  return text.replaceAll(" ", "\u00a0");
}

function decoded(bytes) {
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
}

function writeLines(context, { lines, x, y, style }) {
  context.font = FONTS[style];
  context.fillStyle = INKS[style];
  lines.forEach((line, k) => context.fillText(line, x, y + k * LINE));
}

function drawEmpty(context, { x, y, side }, word) {
  context.strokeStyle = FRAME;
  context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
  context.font = FONTS.axis;
  const left = x + Math.round((side - context.measureText(word).width) / 2);
  writeLines(context, { lines: [word], x: left, y: y + Math.round((side - LINE) / 2), style: "axis" });
}

function canvasMeasure() {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  return (text, font) => {
    context.font = font;
    return context.measureText(text).width;
  };
}

function tooLarge({ width, height }) {
  return new Error(`The sheet would have ${width} × ${height} pixels: that is more than this browser draws.`);
}
