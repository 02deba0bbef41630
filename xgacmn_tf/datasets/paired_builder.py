"""Base class of this package's TFDS builders, each of which wraps a reader of files.

A builder lives in `<folder>/<folder>_dataset_builder.py` beside README.md and CITATIONS.bib, from
which TFDS takes description and citation. It states its reader and its configurations:

    class Builder(PairedBuilder):
        READER = "wikipedia"
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [PairedConfig(name="shallow_2173", protocol="2173", …)]
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from xgacmn_tf import datasets
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.errors import InputError

FEATURE_CACHE = "xgacmn_tf"


@dataclasses.dataclass(kw_only=True, eq=False)
class PairedConfig(tfds.core.BuilderConfig):
    """One configuration of a data set.

    Attributes:
        image_dim, text_dim: numbers of features; TFDS wants them before any file is read.
        label_names: c names, in the reader's order.
        multi_label: labels are multi-hot rows (c,), not single classes.
        described: pairs have titles.
        has_thumbnails: pairs have thumbnails.
        grouped: pairs have groups.
        protocol, image_features, text_features, seed, on_bad_image: as `datasets.load` takes them.
    """

    image_dim: int
    text_dim: int
    label_names: tuple[str, ...]
    multi_label: bool = False
    described: bool = False
    has_thumbnails: bool = False
    grouped: bool = False
    protocol: str | None = None
    image_features: str | None = None
    text_features: str | None = None
    seed: int = 0
    on_bad_image: str = "refuse"


class PairedBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Writes what `datasets.load` reads, in its order; `datasets.tfds_source` reads it back equal.

    TFDS's manual folder (`<data_dir>/downloads/manual`, or `DownloadConfig.manual_dir`) is the
    reader's `data_dir`. Features that have to be made are cached in TFDS's download folder.
    """

    READER: ClassVar[str]
    builder_config: PairedConfig

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        names = list(config.label_names)
        features: dict[str, Any] = {
            "image": tfds.features.Tensor(shape=(config.image_dim,), dtype=np.float32),
            "text": tfds.features.Tensor(shape=(config.text_dim,), dtype=np.float32),
            "label": tfds.features.Tensor(shape=(len(names),), dtype=np.uint8)
            if config.multi_label
            else tfds.features.ClassLabel(names=names),
            "id": tfds.features.Text(),
        }
        if config.described:
            features["title"] = tfds.features.Text()
        if config.has_thumbnails:
            features["thumbnail"] = tfds.features.Text(doc="a small encoded image, WebP")
        if config.grouped:
            features["group"] = tfds.features.Text(doc="equal for pairs that share an image")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            # A multi-hot feature stores no names.
            metadata=tfds.core.MetadataDict(label_names=names),
            # Rows keep the reader's order, so that a run on either sees the same data.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError as error:  # the folder is missing or empty
            raise InputError(" ".join(str(error).split())) from None
        config = self.builder_config
        dataset = datasets.load(
            self.READER,
            str(folder),
            protocol=config.protocol,
            seed=config.seed,
            image_features=config.image_features,
            text_features=config.text_features,
            on_bad_image=config.on_bad_image,
            cache_dir=Path(dl_manager.download_dir) / FEATURE_CACHE,
        )
        self._check(dataset)
        return {part: self._generate_examples(split) for part, split in dataset.splits()}

    def _check(self, dataset: PairedDataset) -> None:
        """Reject files of other sizes than the configuration declares; readers take any."""
        config = self.builder_config
        for modality in ("image", "text"):
            dim, declared = (getattr(d, f"{modality}_dim") for d in (dataset, config))
            if dim != declared:
                raise InputError(
                    f"{dataset.described} has {modality} features of dimension {dim}, "
                    f"configuration {config.name!r} declares {declared}; the files are another "
                    f"release. Read them with --dataset={self.READER}, which takes any."
                )
        if dataset.label_names != tuple(config.label_names):
            raise InputError(
                f"{dataset.described} has the classes {', '.join(dataset.label_names)};"
                f" configuration {config.name!r} declares {', '.join(config.label_names)}."
            )

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in range(len(split)):
            example = {
                "image": split.image[row],
                "text": split.text[row],
                "label": split.label[row],
                "id": split.id[row],
            }
            if self.builder_config.described:
                example["title"] = split.title[row]  # type: ignore[index]
            if self.builder_config.has_thumbnails:
                example["thumbnail"] = split.thumbnail[row]  # type: ignore[index]
            if self.builder_config.grouped:
                example["group"] = split.group[row]  # type: ignore[index]
            yield row, example
