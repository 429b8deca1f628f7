// The pixels of pictures, and how two pictures differ in them.
// Decoded as they stand in the file: no colour management, no premultiplied alpha.
// Knows canvases; no server and no view.

const COARSE = 160; // pixels a side up to which a difference is shown in squares, as tiles are

/** Why pixels cannot be read, as one sentence without its full stop. */
export class PixelsError extends Error {}

/** How two PNGs differ: what `difference` says, with a canvas for its image; where it throws, a problem. */
export async function compared(one, other, factor = 1) {
  try {
    checkReading();
    const { image, ...facts } = difference(await decode(one), await decode(other), factor);
    return { ...facts, canvas: image && canvasOf(image) };
  } catch (error) {
    if (!(error instanceof PixelsError)) throw error;
    return { differ: 0, of: 0, largest: 0, canvas: null, problem: error.message };
  }
}

/** The pixels of a PNG's bytes, as ImageData. */
export async function decode(bytes) {
  const blob = new Blob([bytes], { type: "image/png" });
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new PixelsError("its pixels cannot be read");
  }
  const { width, height } = bitmap;
  const context = contextOf(width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/**
 * How two pictures differ, pixel by pixel: {differ, of, largest, image, problem}.
 * differ: pixels that are not the same; of: all; largest: the greatest difference of a channel, 0 to 255;
 * image: ImageData of the absolute differences times the factor; problem: why there is none of these, else "".
 */
export function difference(a, b, factor = 1) {
  if (a.width !== b.width || a.height !== b.height) {
    const problem = `different sizes: ${a.width} x ${a.height} and ${b.width} x ${b.height}`;
    return { differ: 0, of: 0, largest: 0, image: null, problem };
  }
  const image = new ImageData(a.width, a.height); // its bytes are clamped to 255
  let [differ, largest] = [0, 0];
  for (let place = 0; place < a.data.length; place += 4) {
    let most = 0;
    for (let channel = place; channel < place + 4; channel += 1) {
      const size = Math.abs(a.data[channel] - b.data[channel]);
      image.data[channel] = size * factor;
      if (size > most) most = size;
    }
    image.data[place + 3] = 255;
    if (most > 0) differ += 1;
    if (most > largest) largest = most;
  }
  return { differ, of: a.width * a.height, largest, image, problem: "" };
}

/** Throws a PixelsError where this browser changes what a page reads from a picture, as guards against tracking do. */
export function checkReading() {
  const size = 16;
  const context = contextOf(size, size);
  const written = context.createImageData(size, size);
  for (let place = 0; place < written.data.length; place += 1) {
    written.data[place] = place % 4 === 3 ? 255 : (place * 151) % 256;
  }
  context.putImageData(written, 0, 0);
  const read = context.getImageData(0, 0, size, size);
  if (read.data.some((value, place) => value !== written.data[place])) {
    throw new PixelsError("this browser changes the pixels that a page reads: allow this page to read its canvas");
  }
}

function canvasOf(image) {
  const { width, height } = image;
  const className = width <= COARSE ? "coarse" : "";
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function contextOf(width, height) {
  const options = { willReadFrequently: true, colorSpace: "srgb" }; // in memory, not on a card, which may round
  return new OffscreenCanvas(width, height).getContext("2d", options);
}
