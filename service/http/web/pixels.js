// The pixels of PNGs as they stand in the file, and how two pictures differ in them. Knows no view.

/** A PNG's bitmap: no colour management, no premultiplied alpha. */
export function decoded(bytes) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
}

/** How two PNGs differ: {differ: pixels, of: all, largest: of a channel, canvas: the differences times the factor},
 * or {problem} where they cannot be compared. */
export async function difference(one, other, factor = 1) {
  const [a, b] = await Promise.all([one, other].map(pixelsOf));
  if (a.width !== b.width || a.height !== b.height) {
    return { problem: `different sizes: ${a.width} × ${a.height} and ${b.width} × ${b.height}` };
  }
  const image = new ImageData(a.width, a.height);
  let [differ, largest] = [0, 0];
  for (let place = 0; place < a.data.length; place += 4) {
    const sizes = [0, 1, 2].map((channel) => Math.abs(a.data[place + channel] - b.data[place + channel]));
    image.data.set([...sizes.map((size) => size * factor), 255], place);
    const most = Math.max(...sizes);
    differ += most > 0;
    largest = Math.max(largest, most);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: a.width, height: a.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return { differ, of: a.width * a.height, largest, canvas };
}

async function pixelsOf(bytes) {
  const bitmap = await decoded(bytes);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true }); // in memory: a card may round
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}
