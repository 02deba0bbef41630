"""Test results for TensorBoard: HParams tab, model card, example queries and the projector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.report.example_images import WAY_NAMES, draw_examples
from xgacmn_tf.report.examples import Example
from xgacmn_tf.report.projector import write_projector
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.callbacks import board_tag

# The measures of every similarity that TensorBoard compares runs by.
_COMPARED = ("mAP", "R@10", "median_rank", "fine_mAP", "coverage@10")
_SUFFIX = ".hparams.v2"
# They come first in the HParams tab.
_FIRST = ("dataset", "seed", "model")
_FIRST_FLAGS = tuple(f"--{name}=" for name in _FIRST)


def write_test_results(
    log_dir: str | os.PathLike[str],
    split: Split,
    label_names: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    config: Config,
    metrics: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
    card: str,
) -> None:
    """Write the results on the test split for all tabs of TensorBoard, replacing earlier ones.

    Args:
      log_dir: the run's TensorBoard folder.
      split: the test split.
      label_names: the names of the classes.
      arrays: the content of embeddings.npz.
      config: the settings of the run.
      metrics: the content of metrics.json.
      examples: direction → queries with their first results.
      card: the model card, Markdown.
    """
    write_projector(log_dir, split, label_names, arrays["image"], arrays["text"])
    for old in Path(log_dir).glob(f"events.out.tfevents.*{_SUFFIX}"):
        old.unlink()
    writer = tf.summary.create_file_writer(str(log_dir), filename_suffix=_SUFFIX)
    with writer.as_default(step=0):
        headline = metrics["test"][metrics["headline_similarity"]]
        compared = {f"test/mAP/{way}": value for way, value in headline["mAP"].items()}
        others: dict[str, float] = {}
        for similarity, measures in metrics["test"].items():
            for measure, values in measures.items():
                for way, value in values.items():
                    column = way == "avg" and measure in _COMPARED
                    name = f"test_by_similarity/{similarity}/{measure}/{way}"
                    (compared if column else others)[name] = value
        write_hparams(shown_settings(config), compared, others)
        tf.summary.text("model card", card)
        for way, of_way in examples.items():
            if of_way:
                image = draw_examples(of_way, way, split, label_names)
                tf.summary.image(f"example queries/{WAY_NAMES[way]}", image[np.newaxis])
    writer.close()


def shown_settings(config: Config) -> dict[str, Any]:
    """Return name → value: data set, seed, model, what differs from the defaults, all others."""
    words = [word for word in config.arguments() if not word.startswith(_FIRST_FLAGS)]
    values = config.flat()
    first = {name: values.pop(name) for name in _FIRST}
    return first | {"changed_settings": " ".join(words) or "none"} | values


def write_hparams(
    settings: Mapping[str, Any], metrics: Mapping[str, float], scalars: Mapping[str, float]
) -> None:
    """Write a run's settings and results for the HParams tab, to the default summary writer.

    Args:
      settings: name → value, see `shown_settings`; a value other than a number, a bool or a str is
        written as text.
      metrics: name → result, such as "test/mAP/i2t"; the columns of the tab.
      scalars: name → further results, which are scalars without a column of the tab.
    """
    # The tab sorts settings by name and shows the first five; what it displays is another name.
    tags = {name: f"{k} {name}" for k, name in enumerate((*_FIRST, "changed_settings"), start=1)}
    plain = {
        tags.get(name, name): value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in settings.items()
    }
    # Without this list the tab takes every training curve for a result.
    hparams_api.hparams_config(
        hparams=[hparams_api.HParam(tags.get(name, name), display_name=name) for name in settings],
        metrics=[hparams_api.Metric(board_tag(name), display_name=name) for name in metrics],
    )
    hparams_api.hparams(plain)
    for name, value in {**metrics, **scalars}.items():
        tf.summary.scalar(board_tag(name), value)
