"""README.md of an exported model, generated from its signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xgacmn_tf.model.encoders import CAPTION_WEIGHT

MEANING = {
    "image_features": "features of an image as the data set has them; preprocessing is inside",
    "text_features": "features of a text as the data set has them; preprocessing is inside",
    "text": "a text as users type it, UTF-8",
    "image_bytes": "a JPEG or PNG file's content",
    "embedding": "unit-length code on the hypersphere; cosine is the inner product",
    "posterior": "probability of each class",
    "search": "what searches rank images and texts by: their similarity is the inner product",
    "caption_features": "preprocessed features of a text, at length 2: what a search of images by "
    "text compares with captions",
    "known_words": "number of words of the text that the vocabulary has; with 0, a search finds "
    "nothing and a code means nothing",
    "ids": "the nearest items, best first; all empty if the query was not understood",
    "titles": "their titles, or empty",
    "scores": "their similarities to the query, which are no probabilities; 0 where ids are empty",
    "category": "their categories; where the gallery has none, the most probable class of the item",
    "category_posterior": "the probability of that category by the item alone, whatever the query",
    "query_category": "the most probable class of the query",
    "query_category_posterior": "the probability of that class",
    "no_good_match": "the nearest items fit the query badly, so that nothing right may be there; "
    "so it is for 5 % of the validation queries that have a match",
}


def signature_readme(signatures: Mapping[str, Any], name: str, record: Mapping[str, Any]) -> str:
    """Return Markdown that describes every signature of a SavedModel.

    Args:
      signatures: its signatures, concrete functions of one input.
      name: what the model is called.
      record: what run.json holds, see `savedmodel`.
    """
    gallery = record["gallery"]
    lines = [
        f"# {name}, version {record['version']}",
        "",
        f"- trained on: `{record['settings']['dataset']}`, data {record['data_fingerprint']}",
        f"- settings: {record['config_fingerprint']} (all of them are in `run.json`)",
        f"- gallery: {gallery['size']} items, {gallery['source']}; searched: {_searched(gallery)}",
        f"- searches return {gallery['depth']} items, or all where there are fewer, by similarity "
        f"`{record['similarity']}`",
        f"- TensorFlow {record['versions']['tensorflow']}, Keras {record['versions']['keras']}",
        f"- Python programs must `import {', '.join(record['imports'])}` before they load it; "
        "TensorFlow Serving has all it needs",
        "",
        "n is the size of the batch: dimension 0 of every input and output. `serving_default` is "
        "`encode_image`.",
        "",
        "Features that are NaN or infinite are rejected (INVALID_ARGUMENT) with the name of the "
        "input and the row. A query is not understood if all its features are zero, as those of a "
        "text without a known word: every item is equally similar to it, so a search answers with "
        "empty `ids` and `titles` and `scores` of 0.",
    ]
    if gallery["captions"]:
        lines += [
            "",
            "Searches compare a query with both the image and the caption of each item that has "
            "both: the score is the mean of the two.",
        ]
    if gallery["caption_features"]:
        lines += [
            f"To the score of an image, searches by text add {CAPTION_WEIGHT:g} times the mean "
            "cosine between the text's preprocessed features and those of the image's captions.",
        ]
    for signature in sorted(signatures):
        function = signatures[signature]
        (spec,) = function.structured_input_signature[0]
        tensors = [
            ("input", (spec.name, spec)),
            *(("output", spec) for spec in sorted(function.structured_outputs.items())),
        ]
        lines += [
            "",
            f"## {signature}",
            "",
            "| | name | dtype | shape | |",
            "|---|---|---|---|---|",
        ]
        for way, (key, spec) in tensors:
            shape = ", ".join("n" if size is None else str(size) for size in spec.shape)
            lines.append(f"| {way} | `{key}` | {spec.dtype.name} | ({shape}) | {MEANING[key]} |")
    return "\n".join(lines) + "\n"


def _searched(gallery: Mapping[str, Any]) -> str:
    """Return a phrase such as "6 distinct images, 30 texts"."""
    kinds = {"image": "distinct images", "text": "texts"}
    return ", ".join(f"{count:,} {kinds[name]}" for name, count in gallery["searched"].items())
