// The pictures that this page has, kept by what made them: going back, or asking again, costs the service nothing.
import { bytesOf, toJson } from "./api.js";
import { modelNamed } from "./page.js";

const MOST_BYTES = 64 << 20; // of all that is kept

const kept = new Map(); // by name, the last used ones last
const forgotten = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** The picture in an image of the API, kept: {bytes, url, receipt, timing}. */
export function keep(request, { b64_png, timing_ms: timing, index, image, request_id, ...receipt }) {
  const picture = Object.assign(pictureOf(bytesOf(b64_png)), { receipt, timing });
  kept.set(nameOf(request), picture);
  let size = [...kept.values()].reduce((sum, each) => sum + each.bytes.length, 0);
  for (const [name, each] of kept) {
    if (size <= MOST_BYTES) break;
    size -= each.bytes.length;
    kept.delete(name);
  }
  return picture;
}

/** The picture of a request, if it is here. */
export function keptOf(request) {
  const name = nameOf(request);
  const picture = kept.get(name);
  if (picture && kept.delete(name)) kept.set(name, picture);
  return picture;
}

/** A PNG's bytes with a URL to show them by, which holds as long as somebody holds the object. */
export function pictureOf(bytes) {
  const picture = { bytes, url: URL.createObjectURL(new Blob([bytes], { type: "image/png" })) };
  forgotten.register(picture, picture.url);
  return picture;
}

function nameOf({ model, class_id, cfg, steps, sampler, seed }) {
  return toJson([modelNamed(model)?.weights_sha256, model, class_id, cfg, steps, sampler, seed]);
}
