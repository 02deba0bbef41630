// What the page shows. Titles come from strangers: they are only ever set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export const counted = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

export function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// While an answer is on its way, screen readers wait and what is still shown fades.
export const busy = (on) => $("main").setAttribute("aria-busy", on);

// `kind` is "pictures" or "texts": which of the two an item was found by, so which stands out.
export function show(kind, { heading, canvas }, facts, hits) {
  const pictures = hits.some((hit) => hit.picture);
  $("asked").textContent = heading;
  $("facts").textContent = facts.join(" · ");
  $("shown").replaceChildren(...(canvas ? [canvas] : []));
  $("hits").className = kind;
  $("hits").replaceChildren(...hits.map((hit, row) => card(hit, row + 1, pictures)));
  $("answer").hidden = false;
  $("error").hidden = true;
  document.title = `${heading} · X-GACMN search`;
  $("status").textContent = [heading, ...facts].join(", ");
}

export function showNothing() {
  $("answer").hidden = $("error").hidden = true;
}

export function showError(message) {
  $("answer").hidden = true;
  $("error").textContent = message;
  $("error").hidden = false;
}

function card(hit, rank, pictures) {
  const item = element("li", "hit card");
  item.dataset.id = hit.id;
  if (pictures) {
    const frame = item.appendChild(element("div", "frame"));
    if (hit.picture) frame.append(image(hit.picture, "")); // The title stands beside it.
  }
  const body = item.appendChild(element("div", "body"));
  body.append(element("p", "title", hit.title || hit.id));
  if (hit.category) body.append(element("p", "category", hit.category));
  if (hit.score !== undefined) {
    const foot = body.appendChild(element("p", "foot"));
    foot.append(element("span", "rank", rank), element("span", "score", hit.score.toFixed(3)));
  }
  return item;
}

export function image(address, description) {
  const made = element("img", "");
  made.src = address;
  made.alt = description;
  return made;
}

export function example(label, action) {
  const made = element("button", "example");
  made.type = "button";
  made.append(label);
  made.addEventListener("click", action);
  return made;
}
