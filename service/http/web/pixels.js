// The pixels of PNGs as they stand in the file, and how two pictures differ in them. Knows no view.

/** A PNG's bitmap: no colour management, no premultiplied alpha. */
export function decoded(bytes) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
}

/** How two PNGs differ: {differ: pixels, of: all, largest: of a channel, canvas: the differences times the factor},
 * or {problem} where they cannot be compared. */
export async function difference(one, other, factor = 1) {
  if (!isTold()) return { problem: "this browser changes what a page reads of its canvas" };
  const [a, b] = await Promise.all([one, other].map(pixelsOf)).catch(() => []);
  if (!a) return { problem: "pixels that cannot be read" };
  if (a.width !== b.width || a.height !== b.height) {
    return { problem: `different sizes: ${a.width} × ${a.height} and ${b.width} × ${b.height}` };
  }
  const image = new ImageData(a.width, a.height);
  let [differ, largest] = [0, 0];
  for (let place = 0; place < a.data.length; place += 4) {
    let most = 0;
    for (let k = place; k < place + 3; k += 1) { // no array each: there are a million
      const size = Math.abs(a.data[k] - b.data[k]);
      image.data[k] = size * factor;
      most = Math.max(most, size);
    }
    image.data[place + 3] = 255;
    differ += most > 0;
    largest = Math.max(largest, most);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: a.width, height: a.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return { differ, of: a.width * a.height, largest, canvas };
}

async function pixelsOf(bytes) {
  const bitmap = await decoded(bytes);
  const context = contextOf(bitmap);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Whether a canvas gives back what was drawn: guards against tracking change it. */
function isTold() {
  const image = new ImageData(16, 16);
  image.data.forEach((_, k) => (image.data[k] = k % 4 === 3 ? 255 : (k * 151) % 256));
  const context = contextOf(image);
  context.putImageData(image, 0, 0);
  return String(context.getImageData(0, 0, 16, 16).data) === String(image.data);
}

function contextOf({ width, height }) {
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true }); // a card may round
}
