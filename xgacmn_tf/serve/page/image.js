// Conversion of any image that the browser reads to a JPEG or PNG file of moderate size.

// A longer side is scaled down to this number of pixels; the networks use far fewer.
const LONGEST_SIDE = 1024;
const FIRST_BYTES = ["ffd8ff", "89504e"]; // of JPEG, PNG

// Return a canvas to show, and the file as a Blob. `name` is for the error message.
export async function prepared(blob, name) {
  const image = await createImageBitmap(blob).catch(() => {
    throw new Error(`${name} is not an image that this browser can read. Try a JPEG or PNG file.`);
  });
  const scale = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height));
  const canvas = drawn(image, scale);
  let file = blob; // Unchanged where possible, so that the page finds what other clients find.
  if (scale < 1) file = await saved(canvas, "image/jpeg");
  else if (!(await isAccepted(blob))) file = await saved(canvas, "image/png");
  return { canvas, file };
}

function drawn(image, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // Behind transparent pixels, as everywhere in this package.
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function isAccepted(blob) {
  const first = new Uint8Array(await blob.slice(0, 3).arrayBuffer());
  const hexadecimal = [...first].map((byte) => byte.toString(16).padStart(2, "0"));
  return FIRST_BYTES.includes(hexadecimal.join(""));
}

const saved = (canvas, type) => new Promise((done) => canvas.toBlob(done, type, 0.95));
