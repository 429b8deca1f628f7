// What a PNG says about itself: its size, its text chunks, and the receipt that this service wrote into it.
// Works on bytes alone and trusts no length in them; the fields and their checks are those of
// service/image/receipt.py. Knows no DOM, no server, and no pixels.
// Reference: PNG (third edition), W3C 2025, sections 5.3, 11.3.3.2 (tEXt) and 11.3.3.4 (iTXt).

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Bytes of the largest file that is read. */
export const MAX_BYTES = 64 << 20;
const MAX_CHUNKS = 65536; // of 64 MiB in pieces as encoders make them there are a few thousand
const MAX_SIDE = 4096;
const MAX_TEXT = 4096; // characters of a value: a class's name, a path as a system has it
const MAX_DIGITS = 4300; // of a whole number, as Python reads them
const PREFIX = "dit:";
const OPTIONAL = ["precision", "weights"]; // what an image says only where there is something to say
const WHOLE = /^[+-]?[0-9]+$/;
const REAL = /^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf|nan)$/;

/** The fields of a receipt with their types, in the order in which they are shown. */
export const FIELDS = {
  class_id: "int", class_name: "text", cfg: "float", steps: "int", sampler: "text", seed: "int", resolution: "int",
  guidance_channels: "int", dtype: "text", model: "text", weights_sha256: "text", vae: "text", version: "text",
  precision: "text", weights: "text",
};

/** What is wrong with a file, as one sentence without its full stop. */
export class PngError extends Error {}

/** The receipt in a PNG of this service; throws a PngError that says why there is none. */
export function readReceipt(bytes) {
  return receiptOf(readPng(bytes));
}

/** A PNG's size and text chunks: {width, height, texts: [[keyword, text]…]}; of foreign texts only a checksum. */
export function readPng(bytes) {
  if (bytes.length > MAX_BYTES) throw new PngError("it is larger than 64 MiB, and no picture of this service is");
  if (SIGNATURE.some((byte, k) => bytes[k] !== byte)) throw new PngError("this is no PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const png = { width: 0, height: 0, texts: [] };
  for (let place = SIGNATURE.length, count = 0; ; count += 1) {
    if (place + 12 > bytes.length) throw new PngError("its end is missing");
    if (count === MAX_CHUNKS) throw new PngError(`it has more than ${MAX_CHUNKS} chunks, and no picture of ours has`);
    const length = view.getUint32(place);
    const end = place + 8 + length;
    if (end + 4 > bytes.length) throw new PngError("its end is missing");
    const kind = latin1(bytes.subarray(place + 4, place + 8));
    if (view.getUint32(end) !== checksum(bytes.subarray(place + 4, end))) {
      throw new PngError(`it is damaged: the checksum of ${shown(kind)} is wrong`);
    }
    if ((count === 0) !== (kind === "IHDR")) throw new PngError("this is no PNG: its first chunk must be IHDR, once");
    if (kind === "IEND") return png;
    readChunk(png, kind, bytes.subarray(place + 8, end));
    place = end + 4;
  }
}

/** The receipt in the text chunks of a PNG, whole numbers above 2^53 as BigInt; throws a PngError if it has none. */
export function receiptOf({ texts }) {
  const found = new Map();
  for (const [keyword, text] of texts) {
    if (!keyword.startsWith(PREFIX)) continue;
    if (found.has(keyword)) throw new PngError(`${shown(keyword)} is there twice`);
    found.set(keyword, text);
  }
  if (!Object.keys(FIELDS).some((name) => found.has(PREFIX + name))) {
    throw new PngError("it has no receipt of this service");
  }
  const receipt = {};
  for (const [name, type] of Object.entries(FIELDS)) {
    const text = found.get(PREFIX + name);
    if (text !== undefined) receipt[name] = valueOf(name, type, text);
    else if (OPTIONAL.includes(name)) receipt[name] = "";
    else throw new PngError(`its receipt is not whole: ${PREFIX}${name} is missing`);
  }
  return receipt;
}

/** The keywords whose texts differ between two PNGs, without "dit:"; one that only one of them has is among them. */
export function textsThatDiffer(one, other) {
  const [ours, theirs] = [one, other].map(({ texts }) => {
    const byKeyword = new Map();
    for (const [keyword, text] of texts) byKeyword.set(keyword, [...(byKeyword.get(keyword) ?? []), text]);
    return byKeyword;
  });
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((keyword) => JSON.stringify(ours.get(keyword)) !== JSON.stringify(theirs.get(keyword)))
    .map((keyword) => shown(keyword.startsWith(PREFIX) ? keyword.slice(PREFIX.length) : keyword));
}

function readChunk(png, kind, data) {
  if (kind === "IHDR") {
    if (data.length !== 13) throw new PngError("this is no PNG: its IHDR has another length than 13");
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    [png.width, png.height] = [view.getUint32(0), view.getUint32(4)];
    if (!png.width || !png.height || Math.max(png.width, png.height) > MAX_SIDE) {
      throw new PngError(`it has ${png.width} x ${png.height} pixels, and no picture of this service has`);
    }
  } else if (["tEXt", "zTXt", "iTXt"].includes(kind)) {
    const zero = data.subarray(0, 80).indexOf(0); // a keyword has 79 bytes at most
    if (zero > 0) png.texts.push([latin1(data.subarray(0, zero)), textOf(kind, data, zero)]);
  }
}

function textOf(kind, data, zero) {
  const keyword = latin1(data.subarray(0, zero));
  if (!keyword.startsWith(PREFIX)) return String(checksum(data));
  let text = data.subarray(zero + 1);
  if (kind === "zTXt" || (kind === "iTXt" && text[0] !== 0)) {
    throw new PngError(`${shown(keyword)} is compressed, and this service never compresses one`);
  }
  if (kind === "iTXt") {
    const language = text.indexOf(0, 2);
    const translated = language < 0 ? -1 : text.indexOf(0, language + 1);
    if (translated < 0) throw new PngError(`${shown(keyword)} is cut off`);
    text = text.subarray(translated + 1);
  }
  if (text.length > 4 * MAX_TEXT) throw new PngError(`${shown(keyword)} is longer than this service writes one`);
  return kind === "iTXt" ? utf8(keyword, text) : latin1(text);
}

function valueOf(name, type, text) {
  const keyword = PREFIX + name;
  if (type === "text") {
    const { length } = [...text]; // code points, as Python counts them
    if (length > MAX_TEXT) throw new PngError(`${keyword} has ${length} characters, and no text of ours has as many`);
    return text;
  }
  if (type === "int") {
    if (!WHOLE.test(text) || text.length > MAX_DIGITS) {
      throw new PngError(`${keyword} is no whole number: ${quoted(text)}`);
    }
    const value = Number(text);
    return Number.isSafeInteger(value) ? value + 0 : BigInt(text.replace("+", "")); // + 0: no minus zero
  }
  if (!REAL.test(text)) throw new PngError(`${keyword} is no number: ${quoted(text)}`);
  return Number(text.replace("inf", "Infinity"));
}

function utf8(keyword, data) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new PngError(`${shown(keyword)} is not UTF-8`);
  }
}

function latin1(data) { // TextDecoder's "latin1" is windows-1252
  let text = "";
  for (let k = 0; k < data.length; k += 8192) text += String.fromCharCode(...data.subarray(k, k + 8192));
  return text;
}

function shown(text) {
  return text.slice(0, 40).replace(/[^ -~\u00a1-\u00ff]/g, "?");
}

function quoted(text) {
  return `'${shown(text)}'`;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

function checksum(data) { // CRC-32, PNG annex D
  let crc = 0xffffffff;
  for (let k = 0; k < data.length; k += 1) crc = TABLE[(crc ^ data[k]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
