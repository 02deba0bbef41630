// Rendering of answers. Titles come from strangers: they are only set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export const counted = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

export const percent = (share) => `${Math.round(100 * share)}%`;

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// While an answer is on its way, screen readers wait and the earlier one fades.
export function busy(isBusy) {
  $("main").ariaBusy = String(isBusy);
}

// `canvas` is the image of the query; `similar` is called with a hit whose image is clicked.
export function show(kind, { heading, canvas, note = "" }, facts, hits, similar) {
  $("asked").textContent = heading;
  $("facts").textContent = facts.join(" · ");
  $("note").textContent = note;
  $("note").hidden = !note;
  $("shown").replaceChildren(...(canvas ? [canvas] : []));
  $("hits").className = `${kind}s`;
  $("hits").replaceChildren(...hits.map((hit) => card(hit, similar)));
  $("answer").hidden = false;
  $("error").hidden = true;
  document.title = `${heading} · X-GACMN search`;
  $("status").textContent = [heading, note, ...facts].filter(Boolean).join(", ");
}

export function showError(message) {
  $("answer").hidden = true;
  $("error").textContent = message;
  $("error").hidden = false;
}

export function example(text, search) {
  const button = element("button", "example", text);
  button.type = "button";
  button.addEventListener("click", search);
  return button;
}

function card(hit, similar) {
  const item = element("li", "hit card");
  item.dataset.id = hit.id;
  if (hit.thumbnail) {
    const frame = item.appendChild(element("button", "frame"));
    frame.ariaLabel = `Find images like ${hit.title}`;
    frame.addEventListener("click", () => similar(hit));
    const image = frame.appendChild(element("img", ""));
    image.src = hit.thumbnail;
    image.alt = ""; // The title stands beside it.
  }
  const body = item.appendChild(element("div", "body"));
  body.append(element("p", "title", hit.title));
  if (hit.category) body.append(element("p", "category", categoryOf(hit)));
  if (hit.score !== undefined) {
    const foot = body.appendChild(element("p", "foot"));
    foot.append(element("span", "rank", hit.rank), element("span", "score", hit.score.toFixed(3)));
  }
  return item;
}

// The category with its probability; one that only the model predicts ends in "?".
function categoryOf({ category, category_posterior: posterior, category_known: known }) {
  if (posterior === null || posterior === undefined) return category;
  return `${category}${known ? "" : "?"} ${percent(posterior)}`;
}
