"""The signatures of an exported model: encoding and searching, nothing of training.

Every input and output has the batch as dimension 0, because a server joins requests along it. So
the number of items that a search returns is fixed when the model is exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from xgacmn_tf.evaluation.ranking import over_blocks, top
from xgacmn_tf.export.raw_picture import PictureReader
from xgacmn_tf.export.raw_text import WordCounter
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Queries ranked at once: bounds memory to this many rows of similarities to the whole gallery.
QUERIES_AT_ONCE = 64
Outputs = dict[str, tf.Tensor]
_Function = tuple[tf.TensorSpec, Callable[[tf.Tensor], Outputs]]


def serving_module(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    depth: int,
    counter: WordCounter | None,
    reader: PictureReader | None,
) -> tuple[tf.Module, dict[str, Any]]:
    """What `tf.saved_model.save` takes: a module with all the state, and the signatures by name.

    Args:
      encoder: the trained encoders; their input maps come along.
      similarity: what a search ranks by.
      gallery: what is searched; a modality that it lacks cannot be searched for.
      depth: items that a search returns, at most the gallery's size.
      counter: makes text features of raw texts; without it no signature takes them.
      reader: makes image features of picture files; likewise.
    """

    def encode(modality: str) -> Callable[[tf.Tensor], Outputs]:
        def outputs(codes: tf.Tensor) -> Outputs:
            outputs = {"embedding": encoder.represent(codes, "cosine")}
            if "posterior" in encoder.similarities():
                outputs["posterior"] = encoder.represent(codes, "posterior", modality)
            return outputs

        return outputs

    searches = _searches(encoder, similarity, gallery, depth)
    functions: dict[str, _Function] = {}

    def image_features(then: Callable[[tf.Tensor], Outputs]) -> _Function:
        spec = tf.TensorSpec([None, encoder.image_map.input_dim], tf.float32, "image_features")
        return spec, lambda image_features: then(encoder.encode_image(image_features))

    def text_features(then: Callable[[tf.Tensor], Outputs]) -> _Function:
        spec = tf.TensorSpec([None, encoder.text_map.input_dim], tf.float32, "text_features")
        return spec, lambda text_features: then(encoder.encode_text(text_features))

    def raw_text(then: Callable[[tf.Tensor], Outputs]) -> _Function:
        assert counter is not None
        count = counter

        def outputs(text: tf.Tensor) -> Outputs:
            counts = count(text)
            # A text without any known word gets an answer too; this tells that it is worthless.
            known = tf.cast(tf.reduce_sum(counts, axis=1), tf.int32)
            return then(encoder.encode_text(counts)) | {"known_words": known}

        return tf.TensorSpec([None], tf.string, "text"), outputs

    def image_bytes(then: Callable[[tf.Tensor], Outputs]) -> _Function:
        assert reader is not None
        read = reader
        spec = tf.TensorSpec([None], tf.string, "image_bytes")
        return spec, lambda image_bytes: then(encoder.encode_image(read(image_bytes)))

    functions["encode_image"] = functions["serving_default"] = image_features(encode("image"))
    functions["encode_text"] = text_features(encode("text"))
    if counter is not None:
        functions["encode_raw_text"] = raw_text(encode("text"))
    if reader is not None:
        functions["encode_image_bytes"] = image_bytes(encode("image"))
    if "image" in searches:
        functions["search_images_by_text"] = text_features(searches["image"])
        if counter is not None:
            functions["search_images_by_raw_text"] = raw_text(searches["image"])
    if "text" in searches:
        functions["search_texts_by_image"] = image_features(searches["text"])
        if reader is not None:
            functions["search_texts_by_image_bytes"] = image_bytes(searches["text"])

    module = tf.Module()
    module.counter, module.reader = counter, reader
    signatures = {
        name: tf.function(function, autograph=False, input_signature=[spec]).get_concrete_function()
        for name, (spec, function) in functions.items()
    }
    # What the functions read, and nothing else: so no state of training can come along.
    read = {id(v): v for function in signatures.values() for v in function.variables}
    module.state = sorted(read.values(), key=lambda variable: variable.name)
    return module, signatures


def _searches(
    encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery, depth: int
) -> dict[str, Callable[[tf.Tensor], Outputs]]:
    """By modality: codes (n, code_dim) of the other one → the nearest items of this one.

    A search returns ids and titles, (n, depth) string, and scores, (n, depth) float32. It ranks as
    `ranking` does, in double precision and rounded, so that it gives the order that was evaluated.
    """
    ids = _variable(gallery.id.tolist(), tf.string, "gallery_id")
    titles = _variable(gallery.title.tolist(), tf.string, "gallery_title")
    specs = [tf.TensorSpec([None, depth], dtype) for dtype in (tf.int32, tf.float32)]

    def search_in(items: tf.Variable, query: str) -> Callable[[tf.Tensor], Outputs]:
        def search(codes: tf.Tensor) -> Outputs:
            queries = tf.cast(encoder.represent(codes, similarity, query), tf.float64)

            def best(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return top(queries[first:last], items, depth)

            block = tf.constant(QUERIES_AT_ONCE)
            rows, scores = over_blocks(best, tf.shape(queries)[0], block, specs)
            # The loop forgets how many items each block has.
            rows, scores = tf.ensure_shape(rows, [None, depth]), tf.reshape(scores, [-1, depth])
            return {
                "ids": tf.gather(ids, rows),
                "titles": tf.gather(titles, rows),
                "scores": scores,
            }

        return search

    searches = {}
    for modality, features in gallery.features.items():
        items = encoder.represent(encoder.codes_of(modality, features), similarity, modality)
        searches[modality] = search_in(
            _variable(items, tf.float64, f"gallery_{modality}"),
            query={"image": "text", "text": "image"}[modality],
        )
    return searches


def _variable(values: Any, dtype: tf.DType, name: str) -> tf.Variable:
    values = values if dtype == tf.string else tf.cast(values, dtype)
    return tf.Variable(values, trainable=False, dtype=dtype, name=name)
