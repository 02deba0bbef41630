"""Test results for TensorBoard: the HParams tab, which compares runs, and the projector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.report.projector import write_projector

# The measures of every similarity that TensorBoard compares runs by.
_COMPARED = ("mAP", "R@10", "median_rank", "fine_mAP", "coverage@10")
_SUFFIX = ".hparams.v2"


def write_test_results(
    log_dir: str | os.PathLike[str],
    split: Split,
    label_names: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write the codes of the test split for the projector, and its measures for the HParams tab.

    Args:
      log_dir: the run's TensorBoard folder.
      split: the test split.
      label_names: the names of the classes.
      arrays: the content of embeddings.npz.
      settings: name → value.
      metrics: the content of metrics.json.
    """
    write_projector(log_dir, split, label_names, arrays["image"], arrays["text"])
    headline = metrics["test"][metrics["headline_similarity"]]
    compared = {f"test/mAP/{way}": value for way, value in headline["mAP"].items()}
    others: dict[str, float] = {}
    for similarity, measures in metrics["test"].items():
        for measure, values in measures.items():
            for way, value in values.items():
                column = way == "avg" and measure in _COMPARED
                (compared if column else others)[f"test/{similarity}/{measure}/{way}"] = value
    write_hparams(log_dir, settings, compared, others)


def write_hparams(
    log_dir: str | os.PathLike[str],
    settings: Mapping[str, Any],
    metrics: Mapping[str, float],
    scalars: Mapping[str, float],
) -> None:
    """Write a run's settings and results for TensorBoard's HParams tab, replacing earlier ones.

    Args:
      log_dir: the run's TensorBoard folder.
      settings: name → value; a value other than a number, a bool or a str is written as text.
      metrics: tag → result, such as "test/mAP/i2t"; the columns of the tab.
      scalars: tag → further results, which are scalars at step 0 without a column of the tab.
    """
    for old in Path(log_dir).glob(f"events.out.tfevents.*{_SUFFIX}"):
        old.unlink()
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in settings.items()
    }
    writer = tf.summary.create_file_writer(str(log_dir), filename_suffix=_SUFFIX)
    with writer.as_default(step=0):
        # Without this list the tab takes every training curve for a result.
        hparams_api.hparams_config(
            hparams=[hparams_api.HParam(name) for name in plain],
            metrics=[hparams_api.Metric(tag) for tag in metrics],
        )
        hparams_api.hparams(plain)
        for tag, value in {**metrics, **scalars}.items():
            tf.summary.scalar(tag, value)
    writer.close()
