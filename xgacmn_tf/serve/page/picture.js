// Whatever picture the browser can read → a JPEG or PNG file of moderate size, which models take.

// A longer side is scaled down to this many pixels; the networks that look take far fewer.
const LONGEST_SIDE = 1024;
const FIRST_BYTES = ["ffd8ff", "89504e"]; // of JPEG, PNG

// A canvas to show, and the file's content in base64. `name` is for the error's message.
export async function prepared(blob, name) {
  const picture = await createImageBitmap(blob).catch(() => {
    throw new Error(`${name} is no picture that this browser can read. Try a JPEG or PNG file.`);
  });
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const canvas = drawn(picture, scale);
  let file = blob; // As it is wherever possible, so that the page finds what other clients find.
  if (scale < 1) file = await saved(canvas, "image/jpeg");
  else if (!(await isTaken(blob))) file = await saved(canvas, "image/png");
  return { canvas, content: await base64(file) };
}

function drawn(picture, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // Behind transparent pixels, as everywhere in this package.
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function isTaken(blob) {
  const first = new Uint8Array(await blob.slice(0, 3).arrayBuffer());
  const hexadecimal = [...first].map((byte) => byte.toString(16).padStart(2, "0"));
  return FIRST_BYTES.includes(hexadecimal.join(""));
}

const saved = (canvas, type) => new Promise((done) => canvas.toBlob(done, type, 0.95));

async function base64(blob) {
  const reader = new FileReader();
  await new Promise((done, failed) => {
    Object.assign(reader, { onload: done, onerror: failed });
    reader.readAsDataURL(blob);
  });
  return reader.result.split(",")[1]; // data:…;base64,…
}
