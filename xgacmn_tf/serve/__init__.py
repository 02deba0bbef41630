"""A search service over a trained run: queries to hits, and a catalog that can be changed.

Production serving of the encoders is TensorFlow Serving's job; this package is the layer above it.

- `store`: the items that clients write, in SQLite. It is the only source of truth; an answer to a
  write is sent after the commit. Embeddings are stored beside the items as a cache.
- `saved_model`, `remote`: the signatures of an exported version, in this process or in TensorFlow
  Serving.
- `encoder`: embeddings of queries and items from those signatures.
- `live_gallery`: what one model version searches, in memory: the base gallery without the items
  that were deleted or replaced, and the written items. It is rebuilt from the version and the
  store.
- `service`: one store and one live gallery. A single lock serializes writes and the switch of
  versions. A new version is encoded beside the old one; writes that are committed meanwhile are
  replayed from the store, and then one reference is replaced.
- `app`, `schemas`, `tf_serving_api`: the routes, on FastAPI.
- `gate`: API key, Host, Origin, body size, concurrency, metrics and logs, around all routes.
- `server`: the process, with uvicorn.
"""
