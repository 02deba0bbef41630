"""The signatures of an exported model: encoding and searching.

Every input and output has the batch as dimension 0, because a server joins requests along it. So
the number of items that a search returns is fixed when the model is exported.

A query with NaN or infinite features, or with features so large that the encoder overflows, raises
`tf.errors.InvalidArgumentError` with the name of the input and the row. A query of zeros, such as a
text without a known word, is equally similar to every item: a search answers it with empty ids and
titles and scores of 0, never with arbitrary items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from xgacmn_tf.blocks import over_blocks
from xgacmn_tf.evaluation.ranking import top
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, Representations, represent
from xgacmn_tf.export.raw_image import ImageReader
from xgacmn_tf.export.raw_text import TextReader
from xgacmn_tf.gallery import (
    TEST,
    Gallery,
    categories_with_posteriors,
    combines,
    search_embeddings,
)
from xgacmn_tf.model.encoders import MATCH_DEPTH, CommonSpaceEncoder, match_score
from xgacmn_tf.names import OTHER

# Queries ranked at once: bounds memory to this many rows of similarities to the whole gallery.
QUERIES_AT_ONCE = 64
_TOO_LARGE = "features are too large for the encoder; send features like those of the data set"
Outputs = dict[str, tf.Tensor]
_Nearest = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
_Function = tuple[tf.TensorSpec, Callable[[tf.Tensor], Outputs]]
_Read = Callable[[tf.Tensor], tuple[tf.Tensor, Outputs]]


class _Queries(NamedTuple):
    """A batch of n encoded queries.

    Attributes:
      input: name of the signature's input, for messages.
      modality: "image" or "text".
      features: (n, d) float32, finite.
      encodings: (n, code_dim + item_dim) float32, finite.
      known: (n,) bool, whether any feature is not zero.
    """

    input: str
    modality: str
    features: tf.Tensor
    encodings: tf.Tensor
    known: tf.Tensor


def serving_module(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    depth: int,
    text_reader: TextReader | None,
    reader: ImageReader | None,
    label_names: Sequence[str] | None = None,
    split: str = TEST,
) -> tuple[tf.Module, dict[str, Any]]:
    """Return the arguments of `tf.saved_model.save`: a module with all state, and the signatures.

    Args:
      encoder: the trained encoders with their input maps.
      similarity: the similarity that a search ranks by.
      gallery: the items to search, each distinct image once; a modality without items cannot be
        searched.
      depth: number of items that a search returns, or all where there are fewer.
      text_reader: computes text features of raw texts; without it no signature takes them.
      reader: computes image features of image files; likewise.
      label_names: c names of classes; without them searches name no categories.
      split: "all" if the gallery holds the items that the encoders were trained on, else "test".
    """

    def encode(queries: _Queries) -> Outputs:
        outputs = {"embedding": _represented(encoder, queries, "cosine")}
        if "posterior" in encoder.similarities():
            outputs["posterior"] = _represented(encoder, queries, "posterior")
        outputs["search"] = _represented(encoder, queries, similarity)
        if queries.modality == "text" and encoder.has_items:
            outputs["caption_features"] = encoder.caption_features(queries.features)
        return outputs

    searches = _searches(encoder, similarity, gallery, depth, label_names, split)
    functions: dict[str, _Function] = {}

    def function(name: str, then: Callable[[_Queries], Outputs]) -> _Function:
        """Return the specification of an input, and a function of it that ends in `then`."""
        modality, dtype, shape, read = inputs[name]

        def outputs(values: tf.Tensor) -> Outputs:
            # TensorFlow Text's FastBertNormalize ends the process where the rank is another.
            features, more = read(tf.ensure_shape(values, shape))
            features = _finite(name, features, "features are NaN or infinite; send finite numbers")
            known = tf.reduce_any(tf.not_equal(features, 0), axis=1)
            encodings = _finite(name, encoder.encode(modality, features), _TOO_LARGE)
            return then(_Queries(name, modality, features, encodings, known)) | more

        return tf.TensorSpec(shape, dtype, name), outputs

    def read_text(texts: tf.Tensor) -> tuple[tf.Tensor, Outputs]:
        assert text_reader is not None
        # A text without a known word is encoded as well; `known_words` says that its code is
        # meaningless.
        features, known_words = text_reader.read(texts)
        return features, {"known_words": known_words}

    # Input → modality, dtype, shape, and the function to features and further outputs.
    inputs: dict[str, tuple[str, tf.DType, list[int | None], _Read]] = {
        f"{modality}_features": (modality, tf.float32, [None, dim], lambda values: (values, {}))
        for modality, dim in (
            ("image", encoder.image_map.input_dim),
            ("text", encoder.text_map.input_dim),
        )
    }
    if text_reader is not None:
        inputs["text"] = ("text", tf.string, [None], read_text)
    if reader is not None:
        inputs["image_bytes"] = ("image", tf.string, [None], lambda values: (reader(values), {}))
    raw = {"text": "raw_text", "image_bytes": "image_bytes"}
    for name, (modality, *_) in inputs.items():
        functions[f"encode_{raw.get(name, modality)}"] = function(name, encode)
        other = OTHER[modality]
        if other in searches:
            by = f"search_{other}s_by_{raw.get(name, modality)}"
            functions[by] = function(name, searches[other])
    functions["serving_default"] = functions["encode_image"]

    module = tf.Module()
    module.text_reader, module.reader = text_reader, reader
    signatures = {
        name: tf.function(function, autograph=False, input_signature=[spec]).get_concrete_function()
        for name, (spec, function) in functions.items()
    }
    # What the functions read, and nothing else: so no state of training is saved.
    read = {id(v): v for function in signatures.values() for v in function.variables}
    module.state = sorted(read.values(), key=lambda variable: variable.name)
    return module, signatures


def _searches(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    depth: int,
    label_names: Sequence[str] | None,
    split: str,
) -> dict[str, Callable[[_Queries], Outputs]]:
    """By modality: n queries → its nearest items.

    A search returns ids and titles, (n, k) string, and scores, (n, k) float32, where k is the
    smaller of `depth` and the number of distinct images or of texts. It ranks as
    `ranking` does, in double precision and rounded, so that it gives the order that was evaluated.
    Rows of queries of zeros have empty ids and titles and scores of 0.

    Where the similarity has class posteriors and their names are known, there are `category` (n, k)
    string and `category_posterior` (n, k) float32 of each item, see
    `gallery.categories_with_posteriors`, and `query_category` (n,) and `query_category_posterior`
    (n,) of the most probable class of each query. Where the encoder has a threshold,
    `no_good_match` (n,) bool tells whether `match_score` is below it; it is true where nothing is
    found.
    """
    names = label_names if encoder.has_posteriors(similarity) else None

    def search_in(
        nearest: _Nearest,
        items_at: Callable[[tf.Tensor], tf.Tensor],
        width: int,
        size: int,
        ids: tf.Variable,
        titles: tf.Variable,
        categories: tuple[tf.Variable, tf.Variable] | None,
    ) -> Callable[[_Queries], Outputs]:
        k = min(depth, size)
        specs = [tf.TensorSpec([None, k], dtype) for dtype in (tf.int32, tf.float32)]

        def search(queries: _Queries) -> Outputs:
            embeddings = tf.cast(_represented(encoder, queries, similarity, width), tf.float64)

            def best(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return nearest(embeddings[first:last], tf.constant(k))

            block = tf.constant(QUERIES_AT_ONCE)
            rows, scores = over_blocks(best, tf.shape(embeddings)[0], block, specs)
            # The loop forgets how many items each block has.
            rows, scores = tf.ensure_shape(rows, [None, k]), tf.reshape(scores, [-1, k])
            understood = tf.reduce_any(tf.not_equal(embeddings, 0), axis=1) & queries.known
            column = tf.expand_dims(understood, 1)
            outputs = {
                "ids": tf.where(column, tf.gather(ids, rows), ""),
                "titles": tf.where(column, tf.gather(titles, rows), ""),
                "scores": tf.where(column, scores, 0.0),
            }
            if categories is not None and names is not None:
                category, posterior = (tf.gather(values, rows) for values in categories)
                classes = encoder.posteriors_of(embeddings)
                likely = tf.gather(tf.constant(names), tf.argmax(classes, axis=1))
                largest = tf.cast(tf.reduce_max(classes, axis=1), tf.float32)
                outputs |= {
                    "category": tf.where(column, category, ""),
                    "category_posterior": tf.where(column, posterior, 0.0),
                    "query_category": tf.where(understood, likely, ""),
                    "query_category_posterior": tf.where(understood, largest, 0.0),
                }
            threshold = encoder.match_threshold(similarity, split, queries.modality)
            if threshold is not None:
                own = encoder.items_of(embeddings)
                fit = match_score(own, items_at(rows[:, :MATCH_DEPTH]))
                outputs["no_good_match"] = ~understood | (fit < threshold)
            return outputs

        return search

    searches = {}
    shown: tuple[Gallery, tf.Variable, tf.Variable] | None = None
    for modality in gallery.features:
        if combines(encoder, similarity, gallery):
            items, embeddings = search_embeddings(encoder, similarity, gallery, modality)
            nearest, items_at = _nearest_stored(encoder, embeddings, f"gallery_{modality}")
            width = embeddings.shape[1]
        else:
            items = gallery.of_modality(modality)
            encodings = encoder.encodings_of(modality, items.features[modality])
            nearest, items_at = _nearest(encoder, similarity, modality, encodings)
            width = 0
        # Where no image is repeated, both modalities have the same ids and titles.
        if shown is None or shown[0].id is not items.id:
            ids = _variable(items.id.tolist(), tf.string, f"gallery_{modality}_id")
            titles = _variable(items.title.tolist(), tf.string, f"gallery_{modality}_title")
            shown = items, ids, titles
        categories = None
        if names is not None:
            if combines(encoder, similarity, gallery):
                posteriors = Representations.of(modality, encoder.posteriors_of(embeddings))
            else:
                codes = encodings[:, : encoder.code_dim]
                posteriors = represent(encoder, codes, "posterior", modality)
            shown_categories, shown_posteriors = _categories(posteriors, names, items.category)
            categories = (
                _variable(shown_categories.tolist(), tf.string, f"gallery_{modality}_category"),
                _variable(shown_posteriors, tf.float32, f"gallery_{modality}_posterior"),
            )
        searches[modality] = search_in(nearest, items_at, width, len(items), *shown[1:], categories)
    return searches


def _categories(
    posteriors: Representations, names: Sequence[str], category: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) categories of items and (n,) their posteriors, computed in blocks of items."""
    blocks = [
        categories_with_posteriors(
            posteriors[rows], names, None if category is None else category[rows]
        )
        for rows in posteriors.slices()
    ]
    shown, values, _ = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return shown, values


def _nearest_stored(
    encoder: CommonSpaceEncoder, embeddings: np.ndarray | tf.Tensor, name: str
) -> tuple[_Nearest, Callable[[tf.Tensor], tf.Tensor]]:
    """See `_nearest`, for embeddings (n, e) that are stored as a variable called `name`."""
    stored = _variable(embeddings, tf.float64, name)
    return (
        lambda queries, k: top(queries, stored, k),
        lambda rows: encoder.items_of(tf.gather(stored, rows)),
    )


def _nearest(
    encoder: CommonSpaceEncoder, similarity: str, modality: str, encodings: tf.Tensor
) -> tuple[_Nearest, Callable[[tf.Tensor], tf.Tensor]]:
    """Search among items with these encodings: queries (b, e) float64, k → rows, scores (b, k).

    The second function returns the item embeddings (b, k, d) float64 at rows (b, k).

    Embeddings of more than `MAX_NUMBERS` numbers, such as posteriors of many categories, are not
    stored: a search computes them from the encodings, block by block.
    """
    items = len(encodings)
    dim = int(encoder.represent(encodings[:1], similarity, modality).shape[1])
    name, size = f"gallery_{modality}", max(1, MAX_NUMBERS // dim)
    if items <= size:
        embeddings = encoder.represent(encodings, similarity, modality)
        return _nearest_stored(encoder, embeddings, name)
    stored_encodings = _variable(encodings, tf.float32, name)

    def nearest(queries: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def step(first: tf.Tensor, rows: tf.Tensor, scores: tf.Tensor) -> list[tf.Tensor]:
            block = encoder.represent(stored_encodings[first : first + size], similarity, modality)
            block = tf.cast(block, tf.float64)
            block_rows, block_scores = top(queries, block, tf.minimum(k, tf.shape(block)[0]))
            # Earlier items come first, so that ties still go to the lower row.
            rows = tf.concat([rows, first + block_rows], axis=1)
            scores = tf.concat([scores, block_scores], axis=1)
            scores, order = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
            return [first + size, tf.gather(rows, order, batch_dims=1), scores]

        number = tf.shape(queries)[0]
        start = [tf.constant(0), tf.zeros([number, 0], tf.int32), tf.zeros([number, 0])]
        open_size = tf.TensorShape([None, None])
        _, rows, scores = tf.while_loop(
            lambda first, rows, scores: first < items,
            step,
            start,
            [tf.TensorShape([]), open_size, open_size],
            parallel_iterations=1,
        )
        return rows, scores

    def items_at(rows: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(stored_encodings, rows)[..., encoder.code_dim :], tf.float64)

    return nearest, items_at


def _represented(
    encoder: CommonSpaceEncoder, queries: _Queries, similarity: str, width: int = 0
) -> tf.Tensor:
    """Return (n, e) embeddings of queries, with caption features for items of a larger `width`."""
    embeddings = encoder.represent(queries.encodings, similarity, queries.modality)
    if width > embeddings.shape[1]:
        captions = encoder.caption_features(queries.features)
        embeddings = encoder.with_caption_features(embeddings, captions)
    return _finite(queries.input, embeddings, _TOO_LARGE)


def _finite(name: str, values: tf.Tensor, problem: str) -> tf.Tensor:
    """`values` (n, d); at run time, an error that names the first row that is not finite."""
    finite = tf.reduce_all(tf.math.is_finite(values), axis=1)
    row = tf.strings.as_string(tf.reduce_min(tf.where(~finite)))
    words = tf.strings.join([f"{name}[", row, f"]: {problem}"])
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(finite), [words])]):
        return tf.identity(values)


def _variable(values: Any, dtype: tf.DType, name: str) -> tf.Variable:
    values = values if dtype == tf.string else tf.cast(values, dtype)
    return tf.Variable(values, trainable=False, dtype=dtype, name=name)
