// What to try first: a few items of the gallery itself, so they suit whatever it holds.

import { $, example, image } from "./show.js";

// Titles whose words the model knows best become queries.
export async function offerWords(model, search) {
  const short = model.examples.filter(({ title }) => title.length <= 40);
  if (!short.length || !model.signatures.has("encode_raw_text")) return;
  const text = short.map(({ title }) => title);
  const { known_words: known } = await model.predict("encode_raw_text", { text });
  const words = (title) => title.split(/[^\p{L}\p{N}]+/u).filter(Boolean).length || 1;
  const best = short
    .map((item, row) => ({ ...item, part: known[row] / words(item.title) }))
    .filter(({ part }) => part > 0)
    .sort((a, b) => b.part - a.part);
  const buttons = varied(best, 3).map((item) => example(item.title, () => search(item.title, item)));
  offer("example-words", buttons);
}

export function offerPictures(model, search) {
  const pictured = model.examples.filter(({ picture }) => picture);
  const buttons = varied(pictured, 3).map((item) =>
    example(image(item.picture, `picture of ${item.title}`), async () => {
      const response = await fetch(item.picture);
      search(await response.blob(), `“${item.title}”`, item);
    }),
  );
  offer("example-pictures", buttons);
}

// Some of the items, those of different categories first.
export function varied(items, count) {
  const categories = items.map(({ category }) => category);
  const first = items.filter(({ category }, row) => categories.indexOf(category) === row);
  return [...new Set([...first, ...items])].slice(0, count);
}

function offer(id, buttons) {
  $(id).append(...buttons);
  $(id).hidden = !buttons.length;
}
