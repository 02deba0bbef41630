// The server's answers: TensorFlow Serving's REST API, and what the page's own routes add to it.

export class ServerError extends Error {}

// GET, or POST where there is a body. Both kinds of routes word their errors {"error": "…"}.
export async function ask(address, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const post = body && { method: "POST", headers, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(address, { ...post, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const reason = answer.error ?? `The server answered ${response.status}.`;
  const gone = response.status === 404;
  throw new ServerError(gone ? `${reason} Reload the page to see what is served now.` : reason);
}

// Models, and the versions of each that answer now, ascending: [{name, versions}].
export const servedModels = async () => (await ask("gallery")).models;

// What the server says of a model's versions, in a sentence each.
export async function statesOf(name) {
  try {
    const { model_version_status: versions } = await ask(`v1/models/${encodeURIComponent(name)}`);
    const said = ({ version, state, status }) =>
      `Model ${name}, version ${version}: ${status.error_message || state}.`;
    return versions.map(said).join(" ");
  } catch (error) {
    return error.message;
  }
}

// One version. `size` (items), `searched` (distinct images and texts), `similarity` and `examples`
// are there where it has a gallery to show.
export class Model {
  constructor({ name, version }) {
    Object.assign(this, { name, version, size: null, searched: {}, similarity: null, examples: [] });
    this.path = `v1/models/${encodeURIComponent(name)}/versions/${version}`;
    this.gallery = `gallery/${encodeURIComponent(name)}/${version}`;
  }

  async read() {
    const { metadata } = await ask(`${this.path}/metadata`);
    this.signatures = new Set(Object.keys(metadata.signature_def.signature_def));
    Object.assign(this, await ask(this.gallery).catch(() => ({})));
  }

  async predict(signature, inputs, signal) {
    const body = { signature_name: signature, inputs };
    return (await ask(`${this.path}:predict`, body, signal)).outputs;
  }

  // The items of a search's first query, best first: [{id, title, score, category, picture}], with
  // `classed` and `posterior`, the category that the model's class layer was asked for and its
  // probability, from models that give them. None where the query was not understood: all its ids
  // are empty then.
  async describe({ ids, titles, scores, category, category_posterior: posterior }, signal) {
    const hits = ids[0]
      .map((id, rank) => ({
        id,
        title: titles[0][rank],
        score: scores[0][rank],
        classed: category?.[0][rank],
        posterior: posterior?.[0][rank],
      }))
      .filter(({ id }) => id);
    if (!hits.length) return hits;
    // Without a gallery to show, ids, titles and scores are still an answer.
    const body = { ids: hits.map(({ id }) => id) };
    const found = await ask(`${this.gallery}/items`, body, signal).catch(() => null);
    const known = new Map(found?.items.map((item) => [item.id, item]));
    return hits.map((hit) => ({ ...known.get(hit.id), ...hit }));
  }
}
