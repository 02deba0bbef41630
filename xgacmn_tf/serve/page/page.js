// The search page. Its address holds a text query, ?q=…, so that a search can be shared.

import { prepared } from "./image.js";
import { $, busy, counted, example, percent, show, showError } from "./show.js";

let model = null;
let running = new AbortController();

async function ask(address, body, signal) {
  let response;
  try {
    response = await fetch(address, { ...(body && { method: "POST", body }), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The service answered ${response.status}.`);
  return answer;
}

// ---- Searches. Of several, the last one counts.

function cancel() {
  running.abort();
  running = new AbortController();
  busy(false);
  return running.signal;
}

// `prepare` returns the fields of the form, a heading, and the query's image if there is one.
async function search(find, prepare) {
  const signal = cancel();
  busy(true);
  try {
    const { fields, ...shown } = await prepare();
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...fields, find })) form.append(name, value);
    const start = performance.now();
    const answer = await ask("search", form, signal);
    if (!signal.aborted) showAnswer(find, shown, answer, performance.now() - start);
  } catch (error) {
    if (!signal.aborted) showError(error.message);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

function searchText(text) {
  $("q").value = text;
  return search("image", async () => ({ fields: { text }, heading: `Images for “${text}”` }));
}

function searchImage(blob, name, find = "text") {
  remember("");
  $("q").value = "";
  return search(find, async () => {
    if (!model.images) throw new Error($("why-image").textContent);
    const { canvas, file } = await prepared(await blob, name);
    const heading = find === "text" ? `Texts for ${name}` : `Images like “${name}”`;
    return { fields: { image: file }, heading, canvas };
  });
}

async function fetched(address) {
  return (await fetch(address)).blob();
}

const similar = (hit) => searchImage(fetched(hit.thumbnail), hit.title, "image");

function showAnswer(find, shown, { query, hits, no_good_match: poor }, milliseconds) {
  if (!query.understood) {
    const why = query.unknown_words.length
      ? "The model knows none of these words. Try others."
      : "The model sees nothing in this query, so it finds nothing.";
    return show(find, shown, [why], [], similar);
  }
  const time = milliseconds < 9.5 ? milliseconds.toFixed(1) : Math.round(milliseconds);
  const facts = [`Best ${hits.length} of ${counted(model.items, "item")}`, `${time} ms`];
  if (query.category_posterior !== null) {
    facts.push(`most probable category: ${query.category}, ${percent(query.category_posterior)}`);
  }
  const notes = [];
  if (poor) notes.push("No good match: the nearest items are shown.");
  if (query.unknown_words.length) notes.push(`Unknown: ${query.unknown_words.join(", ")}.`);
  return show(find, { ...shown, note: notes.join(" ") }, facts, hits, similar);
}

// ---- The address

function remember(query) {
  const address = new URL(location);
  if (query) address.searchParams.set("q", query);
  else address.searchParams.delete("q");
  if (address.href !== location.href) history.pushState(null, "", address);
}

function followAddress() {
  const query = (new URLSearchParams(location.search).get("q") ?? "").trim();
  if (query && model.texts) return searchText(query);
  cancel();
  $("q").value = "";
  return show("image", { heading: "In the gallery" }, [counted(model.items, "item")], model.examples, similar);
}

function askText(text) {
  remember(text);
  return searchText(text);
}

// ---- Start

function listen() {
  $("text").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("q").value.trim();
    if (text) askText(text);
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
  if (file) searchImage(file, file.name);
}

async function start() {
  model = await ask("model");
  $("about").textContent = `${counted(model.items, "item")} · ${model.name}, version ${model.version}`;
  for (const [panel, isOpen] of [["text", model.texts], ["image", model.images]]) {
    $(panel).hidden = !isOpen;
    $(`why-${panel}`).hidden = isOpen;
  }
  $("ask").hidden = false;
  const titles = model.examples.map(({ title }) => title).filter((title) => title.length <= 40);
  $("examples").append(...titles.slice(0, 3).map((title) => example(title, () => askText(title))));
  $("examples").hidden = !titles.length;
  listen();
  await followAddress();
}

start().catch((error) => {
  $("about").textContent = "";
  showError(error.message);
  busy(false);
});
