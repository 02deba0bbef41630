"""Sections of a run's settings, one dataclass per subject: each field is one flag.

Those that only X-GACMN reads are in `xgacmn_sections`.
"""

from __future__ import annotations

import dataclasses

from xgacmn_tf.names import CODE_SIMILARITIES, SYSTEMS, XGACMN
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class DataSettings(Section):
    """The data set and its splits."""

    dataset: str = setting(
        "emoji",
        "built-in data set (emoji, openclipart, wikipedia, pascal_sentence, nuswide), a .npz, "
        ".mat, .h5 or .hdf5 file of your own features, a .csv, .tsv, .jsonl or .parquet table of "
        "your own images, texts and labels, a folder of images or embeddings, hf:NAME of a Hugging "
        "Face data set, tfds:NAME, or the TFDS name of a data set of features",
        common=True,
    )
    data_dir: str | None = setting(
        None,
        "folder that holds the files of the data set, if it needs any",
        affects_results=False,
        common=True,
    )
    columns: tuple[str, ...] = setting(
        (),
        "names of the arrays of a feature file or the columns of a table, where they differ from "
        "this package's, such as image_train=I_tr,text_train=T_tr or text=caption; a wrong name "
        "lists those in the file",
        later=True,
        common=True,
    )
    label_separator: str = setting(
        "|", "separator of several labels in one cell of a table", later=True
    )
    protocol: str | None = setting(
        None, "split of a data set that has several; a wrong name lists them"
    )
    streaming: bool = setting(
        False,
        "read the training split of a TFDS data set from its files in every epoch instead of "
        "loading it into memory",
        of_xgacmn=True,
    )
    validation_fraction: float | None = setting(
        None,
        "fraction of the training split held out to choose the best epoch and to calibrate class "
        "posteriors, if the data set has no validation split; by default 0.2, and 0 where that is "
        "fewer than 50 pairs. 0 trains on all pairs, keeps the last epoch and calibrates nothing. "
        "Compared systems that need neither always train on all pairs",
        minimum=0.0,
        maximum=0.5,
    )
    refit: bool = setting(
        True,
        "after the held-out pairs have determined the number of epochs and calibrated the "
        "posteriors, train again on all training pairs for as many epochs; a validation split of "
        "the data set itself is never trained on",
    )


@dataclasses.dataclass(frozen=True)
class FeatureSpec(Section):
    """The features extracted from images and texts, and the weights that extract them."""

    image_features: str | None = setting(
        None,
        "features to extract from the images of a data set that has images, such as vgg19 or "
        "efficientnet_lite2; by default the features that the data set comes with",
        common=True,
    )
    text_features: str | None = setting(
        None, "the same for its texts, such as bow, lda or minilm", common=True
    )
    image_weights: str | None = setting(
        None,
        "file or preset folder with the weights of the image network, instead of a download",
        affects_results=False,
    )
    text_weights: str | None = setting(None, "the same for the text network", affects_results=False)
    cache_dir: str | None = setting(
        None,
        "folder in which extracted features are cached; by default the user's cache folder",
        affects_results=False,
    )
    on_bad_image: str = setting(
        "refuse",
        "treatment of an image that cannot be read: refuse rejects the data set, skip leaves the "
        "pair out and reports it",
        choices=("refuse", "skip"),
        affects_results=False,  # The fingerprint of the data tells.
    )


@dataclasses.dataclass(frozen=True)
class ModelChoice(Section):
    """The model: X-GACMN, or a system to compare it with and its hyper-parameters."""

    model: str = setting(
        XGACMN,
        f"{XGACMN}; a system to compare it with, the paper's first: {', '.join(SYSTEMS)}; or "
        "path/to/file.py:NAME of a method of your own",
        common=True,
    )
    model_settings: tuple[str, ...] = setting(
        (), "hyper-parameters of a compared system, such as components=9; a wrong one lists them"
    )


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(Section):
    """Scoring of the test split."""

    similarity: str = setting(
        "auto",
        "the headline similarity of the run, which also chooses the best epoch; every other one is "
        "reported beside it. auto: the model's own, which for X-GACMN is posterior (cosine without "
        "a class loss)",
        choices=("auto", *CODE_SIMILARITIES),
    )
    deduplicate_gallery: bool = setting(
        False,
        "evaluate with each image once among the queries and in the gallery, with the labels and "
        "texts of all its pairs; by default each pair counts, as in the paper",
        later=True,
    )


@dataclasses.dataclass(frozen=True)
class OutputSettings(Section):
    """Files written by a run."""

    output_dir: str | None = setting(
        None,
        "run folder; by default runs/<data set>-<fingerprint of the settings>, so that the same "
        "command finds its run again",
        affects_results=False,
        common=True,
    )
    export: bool = setting(
        True, "export the trained encoders as a SavedModel in the run folder", affects_results=False
    )
