// What is asked for, and the page's address, which holds it.
//
// ?q=… searches by words, so a search can be shared; ?model=…&version=… choose what answers.

import { prepared } from "./picture.js";
import { Model, servedModels, statesOf } from "./server.js";
import { offerPictures, offerWords, varied } from "./examples.js";
import { $, busy, counted, percent, show, showError, showNothing } from "./show.js";

const BY_WORDS = "search_images_by_raw_text";
const BY_PICTURE = "search_texts_by_image_bytes";

let model = null;
let running = new AbortController();

// ---- Searching

// Of several searches the last one counts.
function cancel() {
  running.abort();
  running = new AbortController();
  busy(false);
  return running.signal;
}

// `prepare` gives the signature's inputs, a heading, the picture asked with if there is one, and the
// gallery's item that is asked with, `own`, if it is one.
async function search(signature, prepare) {
  const signal = cancel();
  busy(true);
  try {
    const { inputs, ...asked } = await prepare();
    const start = performance.now();
    const outputs = await model.predict(signature, inputs, signal);
    const milliseconds = performance.now() - start;
    const hits = await model.describe(outputs, signal);
    if (!signal.aborted) showAnswer(signature, asked, hits, outputs, milliseconds);
  } catch (error) {
    if (!signal.aborted) showError(error.message);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

function searchWords(text, own) {
  $("q").value = text;
  return search(BY_WORDS, async () => ({
    inputs: { text: [text] },
    heading: `Pictures for “${text}”`,
    own,
  }));
}

function searchPicture(blob, name, own) {
  remember("");
  $("q").value = "";
  return search(BY_PICTURE, async () => {
    // Dropping and pasting work everywhere on the page, whatever the model can do.
    if (!model.signatures.has(BY_PICTURE)) throw new Error($("why-picture").textContent);
    const { canvas, content } = await prepared(blob, name);
    const inputs = { image_bytes: [{ b64: content }] };
    return { inputs, heading: `Texts for ${name}`, canvas, own };
  });
}

function showAnswer(signature, asked, hits, outputs, milliseconds) {
  const knownWords = outputs.known_words?.[0];
  const kind = signature === BY_PICTURE ? "texts" : "pictures";
  if (knownWords === 0) {
    const why = "The model knows none of these words, so it can rank nothing by them. Try others.";
    return show(kind, asked, [why], []);
  }
  if (!hits.length) {
    return show(kind, asked, ["The model sees nothing in this query, so it finds nothing."], []);
  }
  // An image with several captions is one item of several in the gallery, but is found once.
  const size = model.searched[kind === "texts" ? "text" : "image"] ?? model.size;
  const all = size === null ? "" : ` of ${counted(size, "item")}`;
  const by = model.similarity === null ? "" : ` by ${model.similarity} similarity`;
  const time = milliseconds < 9.5 ? milliseconds.toFixed(1) : Math.round(milliseconds);
  const facts = [`Best ${hits.length}${all}${by}`, `${time} ms`];
  if (knownWords) facts.push(counted(knownWords, "known word"));
  // Models exported by older versions say neither.
  const probability = outputs.query_category_posterior?.[0];
  if (probability !== undefined) {
    facts.push(`most probable category: ${outputs.query_category[0]}, ${percent(probability)}`);
  }
  const note = outputs.no_good_match?.[0] ? "No good match: the nearest items are shown." : "";
  return show(kind, { ...asked, note }, facts, hits);
}

// What can be found, before anyone has asked for something.
function showGallery() {
  $("q").value = "";
  const items = varied(model.examples, 10);
  if (!items.length) return showNothing();
  const size = model.searched.image ?? model.size;
  const facts = [`${items.length} of ${counted(size, "item")}`];
  return show("pictures", { heading: "In the gallery" }, facts, items);
}

// ---- The address

const parameter = (name) => new URLSearchParams(location.search).get(name) ?? "";

function addressWith(parameters) {
  const address = new URL(location);
  for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
  return address;
}

function remember(query) {
  const address = addressWith({ q: query });
  if (!query) address.searchParams.delete("q");
  if (address.href !== location.href) history.pushState(null, "", address);
}

function followAddress() {
  const query = parameter("q").trim();
  if (query && model.signatures.has(BY_WORDS)) return searchWords(query);
  cancel();
  return showGallery();
}

function ask(text, own) {
  remember(text);
  return searchWords(text, own);
}

// ---- Starting

function offerModels(served, chosen) {
  const menu = $("model");
  menu.append(...served.map(({ name, version }) => new Option(`${name}, version ${version}`)));
  menu.selectedIndex = chosen;
  menu.addEventListener("change", () => {
    const { name, version } = served[menu.selectedIndex];
    location.assign(addressWith({ model: name, version }));
  });
  $("pick").hidden = !served.length || (served.length === 1 && chosen === 0);
}

// Why the model cannot search in a way, or "" where it can.
function missing(signature, { raw, features, asks, finds }) {
  const has = (name) => model.signatures.has(name);
  if (has(signature)) return "";
  let reason = "it was made for something else.";
  if (has(raw)) {
    reason = `its gallery has no ${finds} to find.`;
  } else if (has(features)) {
    reason =
      `it was exported without what turns ${asks} into features. Either the run was trained on ` +
      "features alone, or the extractor's package was not installed.";
  }
  return `This model has no signature ${signature}: ${reason}`;
}

function open(panel, why) {
  $(panel).hidden = Boolean(why);
  $(`why-${panel}`).hidden = !why;
  $(`why-${panel}`).textContent = why;
}

function openPanels() {
  const words = { raw: "encode_raw_text", features: "encode_text" };
  const picture = { raw: "encode_image_bytes", features: "encode_image" };
  open("words", missing(BY_WORDS, { ...words, asks: "sentences", finds: "pictures" }));
  open("picture", missing(BY_PICTURE, { ...picture, asks: "pictures", finds: "texts" }));
  $("ask").hidden = false;
}

function listen() {
  $("words").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("q").value.trim();
    if (text) ask(text);
  });
  $("file").addEventListener("change", () => {
    searchFirst($("file").files);
    $("file").value = ""; // So that the same file can be chosen again.
  });
  document.addEventListener("paste", (event) => searchFirst(event.clipboardData.files));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => dragged(kind, event));
  }
  window.addEventListener("popstate", followAddress);
}

function dragged(kind, event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault(); // Else the browser would open the file instead of this page.
  const over = kind === "dragleave" ? event.relatedTarget !== null : kind !== "drop";
  document.body.classList.toggle("dragging", over);
  if (kind === "drop") searchFirst(event.dataTransfer.files);
}

function searchFirst([file]) {
  if (file) searchPicture(file, file.name);
}

async function start() {
  const models = await servedModels();
  const served = models.flatMap(({ name, versions }) =>
    versions.map((version) => ({ name, version })).reverse(),
  );
  const [name, version] = [parameter("model"), parameter("version")];
  const chosen = served.findIndex(
    (one) => (!name || one.name === name) && (!version || String(one.version) === version),
  );
  offerModels(served, chosen);
  if (chosen < 0) {
    const names = name ? [name] : models.map((one) => one.name);
    const what = name || version ? "What this page's address asks for is not" : "Nothing is";
    throw new Error(`${what} served. ${(await Promise.all(names.map(statesOf))).join(" ")}`);
  }
  model = new Model(served[chosen]);
  await model.read();
  // Distinct images or texts: pairs count twice where an image has two captions.
  const distinct = Object.values(model.searched);
  const size = distinct.length ? Math.max(...distinct) : model.size;
  const items = size === null ? [] : [counted(size, "item")];
  $("about").textContent = [...items, `${model.name}, version ${model.version}`].join(" · ");
  openPanels();
  listen();
  if (model.signatures.has(BY_PICTURE)) offerPictures(model, searchPicture);
  // The page works without examples, too.
  if (model.signatures.has(BY_WORDS)) offerWords(model, ask).catch(() => {});
  await followAddress();
}

start().catch((error) => {
  $("about").textContent = "";
  showError(error.message);
  busy(false);
});
