// The receipt that this service wrote into a PNG (service/image/receipt.py), read of its bytes; no length is trusted.
// Reference: PNG (third edition), W3C 2025, sections 5.3, 11.3.3.2 (tEXt) and 11.3.3.4 (iTXt).
import { exactNumber } from "./fields.js";

const SIGNATURE = "\x89PNG\r\n\x1a\n";
const MOST_TEXT = 4096; // letters of a value
const TEXTS = ["class_name", "sampler", "dtype", "model", "weights_sha256", "vae", "version"];
const WHOLE = ["class_id", "steps", "seed", "resolution", "guidance_channels"];
const REAL = ["cfg"];

/** The receipt in a PNG, numbers as `exactNumber` gives them; throws an Error that says why there is none. */
export function readReceipt(bytes) {
  const receipt = {};
  for (const [name, text] of texts(bytes)) {
    if (Object.hasOwn(receipt, name)) throw new Error(`dit:${name} is there twice`);
    if (text.length > MOST_TEXT) throw new Error(`dit:${name} is longer than this service writes one`);
    const isNumber = WHOLE.includes(name) || REAL.includes(name);
    const value = isNumber ? exactNumber(text) : text;
    if (value === null || (WHOLE.includes(name) && !/^\d+$/.test(text))) throw new Error(`dit:${name} is no number`);
    receipt[name] = value;
  }
  if (!Object.keys(receipt).length) throw new Error("it has no receipt of this service");
  const missing = [...TEXTS, ...WHOLE, ...REAL].find((name) => !(name in receipt));
  if (missing) throw new Error(`its receipt is not whole: dit:${missing} is missing`);
  return { precision: "", weights: "", ...receipt }; // which are written only where there is something to say
}

/** What stands in the text chunks whose keywords begin with dit:, as [name, text]. */
function* texts(bytes) {
  if (latin1(bytes.subarray(0, 8)) !== SIGNATURE) throw new Error("this is no PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let place = 8, kind = ""; kind !== "IEND"; ) {
    const end = place + 8 + (place + 12 > bytes.length ? Infinity : view.getUint32(place));
    if (end + 4 > bytes.length) throw new Error("its end is missing");
    if (view.getUint32(end) !== checksum(bytes.subarray(place + 4, end))) throw new Error("it is damaged");
    kind = latin1(bytes.subarray(place + 4, place + 8));
    const data = bytes.subarray(place + 8, end);
    place = end + 4;
    const [, name] = /^dit:([^\0]*)\0/.exec(latin1(data.subarray(0, 80))) ?? [];
    if (name && kind === "tEXt") yield [name, latin1(data.subarray(5 + name.length, 5 + name.length + 2 * MOST_TEXT))];
    if (name && kind === "iTXt") yield [name, utf8(name, data.subarray(5 + name.length))];
  }
}

/** The text of an iTXt chunk after its keyword: a flag, a method, a language and a translation come before it. */
function utf8(name, data) {
  const start = data.indexOf(0, data.indexOf(0, 2) + 1) + 1;
  if (data[0] || start < 4) throw new Error(`dit:${name} is written in another way than this service's`);
  return new TextDecoder().decode(data.subarray(start, start + 8 * MOST_TEXT));
}

function latin1(data) {
  return String.fromCharCode(...data); // as TextDecoder's latin1, which is windows-1252, does not
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function checksum(data) { // CRC-32, as annex D has it
  return ~data.reduce((crc, byte) => TABLE[(crc ^ byte) & 255] ^ (crc >>> 8), -1) >>> 0;
}
