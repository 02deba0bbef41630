// What the page shows. Titles come from strangers: they are only ever set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export const percent = (share) => `${Math.round(100 * share)}%`;

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
// `own` is the gallery's item that was asked with; of other queries nobody knows what is right.
export function show(kind, { heading, canvas, note = "", own }, facts, hits) {
  const pictures = hits.some((hit) => hit.picture);
  $("asked").textContent = heading;
  $("facts").textContent = facts.join(" · ");
  $("note").textContent = note;
  $("note").hidden = !note;
  $("shown").replaceChildren(...(canvas ? [canvas] : []));
  $("hits").className = kind;
  $("hits").replaceChildren(...hits.map((hit, row) => card(hit, row + 1, pictures, own)));
  $("answer").hidden = false;
  $("error").hidden = true;
  document.title = `${heading} · X-GACMN search`;
  $("status").textContent = [heading, note, ...facts].filter(Boolean).join(", ");
}

export function showNothing() {
  $("answer").hidden = $("error").hidden = true;
}

export function showError(message) {
  $("answer").hidden = true;
  $("error").textContent = message;
  $("error").hidden = false;
}

// How a hit fits the item that was asked with: [class, words], or nothing.
function grade(hit, own) {
  const shared = (name) => {
    const names = (item) => (item[name] ?? "").split(", ").filter(Boolean);
    return names(hit).some((one) => names(own).includes(one));
  };
  // A picture's address ends in a checksum of its content.
  const checksum = (item) => item.picture?.split("?")[1];
  const same = hit.id === own.id || (checksum(hit) && checksum(hit) === checksum(own));
  if (same) return ["own", "the item itself"];
  if (shared("fine_label")) return ["fine", `same fine label: ${own.fine_label}`];
  if (shared("category")) return ["same", "same category"];
  return null;
}

function card(hit, rank, pictures, own) {
  const item = element("li", "hit card");
  const graded = own && grade(hit, own);
  item.dataset.id = hit.id;
  if (pictures) {
    const frame = item.appendChild(element("div", "frame"));
    if (hit.picture) frame.append(image(hit.picture, "")); // The title stands beside it.
  }
  const body = item.appendChild(element("div", "body"));
  body.append(element("p", "title", hit.title || hit.id));
  const category = categoryOf(hit);
  if (category) body.append(element("p", "category", category));
  if (graded) body.append(element("p", `grade ${graded[0]}`, graded[1]));
  if (hit.score !== undefined) {
    const foot = body.appendChild(element("p", "foot"));
    foot.append(element("span", "rank", rank), element("span", "score", hit.score.toFixed(3)));
  }
  return item;
}

// The category with its probability; what only the model says ends in "?".
function categoryOf({ category, classed, posterior }) {
  if (posterior === undefined) return category;
  const known = !category || category === classed ? "" : `${category} · `;
  return `${known}${classed}${category === classed ? "" : "?"} ${percent(posterior)}`;
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
