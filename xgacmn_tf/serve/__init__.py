"""A search service over a trained run: queries to hits, and a catalog that can be changed.

Production serving of the encoders is TensorFlow Serving's job; this package is the layer above it.

- `store`: the items that clients write, in SQLite. It is the only source of truth; an answer to a
  write is sent after the commit. Embeddings are stored beside the items as a cache.
- `runners`: the signatures of a version, in this process or in TensorFlow Serving; `encoder`:
  embeddings of queries and items from them.
- `live_gallery`: what one version searches, rebuilt from its base gallery and the store.
- `service`: one store and one live gallery. A single lock serializes writes and the switch of
  versions. A new version is encoded beside the old one; writes that are committed meanwhile are
  replayed from the store, and then one reference is replaced.
- `app`, `schemas`, `tf_serving_api`, `gate`: the routes on FastAPI and the middleware around them.
"""
