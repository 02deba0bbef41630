"""Extracts features from images and texts into a file: `xgacmn features`.

    xgacmn features --dataset=pairs.csv --image=efficientnet_lite2 --text=bow --output=features.npz
        writes features.npz, for `xgacmn train --dataset=features.npz`, and features.extractors/
        with the fitted extractors.
    xgacmn features --dataset=nuswide --data_dir=DIR --image=vgg19 --text=bow --output=FOLDER/
        --beam_options=--runner=DirectRunner
        the same as an Apache Beam pipeline, which writes a TFDS data set.

To resume an interrupted extraction, repeat the command. `python -m xgacmn_tf.features` is the same.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xgacmn_tf import datasets
from xgacmn_tf.datasets import catalog
from xgacmn_tf.datasets.extraction import extract_features, extractor_files
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS
from xgacmn_tf.features.shards import POLICIES
from xgacmn_tf.settings.command_line import read_settings, stop
from xgacmn_tf.settings.fields import Section, setting
from xgacmn_tf.settings.sections import FeatureSpec


@dataclasses.dataclass(frozen=True)
class Extraction(Section):
    """The data set, its features and the file to write."""

    dataset: str | None = setting(
        None,
        f"pairs to read: {', '.join(catalog.DISTRIBUTED)}, a .csv, .tsv, .jsonl or .parquet table "
        "with the columns image, text, label, a folder of images, hf:NAME or tfds:NAME",
        common=True,
    )
    data_dir: str | None = setting(None, "folder that holds the files of the data set", common=True)
    columns: tuple[str, ...] = setting(
        (), "columns of a table that have other names, such as text=caption", common=True
    )
    label_separator: str = setting("|", "separator of several labels in one cell of a table")
    protocol: str | None = setting(None, "split of a data set that has several")
    image: str | None = setting(
        None, "features to extract from images", choices=IMAGE_EXTRACTORS, common=True
    )
    text: str | None = setting(
        None, "features to extract from texts", choices=TEXT_EXTRACTORS, common=True
    )
    image_weights: str | None = setting(
        None,
        "file of weights (vgg19, efficientnet_lite…) or preset (clip, siglip); by default the "
        "usual ones, downloaded or from an installed package",
    )
    text_weights: str | None = setting(
        None,
        "folder of a sentence-transformers model (sentence, minilm), or preset or its folder "
        "(clip, siglip)",
    )
    output: str | None = setting(
        None, "feature file to write (.npz), or a folder with --beam_options", common=True
    )
    cache_dir: str | None = setting(None, "folder in which extracted features are cached")
    on_bad_image: str = setting(
        "refuse",
        "treatment of an image that cannot be read: refuse ends in an error, skip leaves the pair "
        "out and reports it",
        choices=POLICIES,
    )
    batch_size: int = setting(32, "items that a network encodes at once", minimum=1, common=True)
    seed: int = setting(0, "seed of random splits and of fitted extractors", minimum=0)
    beam_options: tuple[str, ...] = setting(
        (),
        "run as an Apache Beam pipeline with this option of Beam; can be given several times",
        multiple=True,
    )


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        run(read_settings(Extraction, argv, str(__doc__), "dataset", "image", "text", "output"))
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; repeat the command to resume from the cache", status=130)


def run(request: Extraction) -> None:
    """Extract features and write them.

    Raises:
      InputError: the data set or the output cannot be used.
    """
    assert request.dataset and request.image and request.text and request.output
    output, beam = Path(request.output), request.beam_options
    if not beam and output.suffix != ".npz":
        raise InputError(f"--output={output}: expected a name that ends in .npz")
    pairs = datasets.load_raw(
        request.dataset,
        request.data_dir,
        request.protocol,
        request.seed,
        columns=request.columns,
        label_separator=request.label_separator,
        cache_dir=request.cache_dir,
    )
    features = FeatureSpec(
        image_features=request.image,
        text_features=request.text,
        image_weights=request.image_weights,
        text_weights=request.text_weights,
        cache_dir=request.cache_dir,
        on_bad_image=request.on_bad_image,
    )
    settings: dict[str, Any] = {"batch_size": request.batch_size, "seed": request.seed}
    if not beam:
        if not output.parent.is_dir():
            raise InputError(f"--output={output}: there is no folder {output.parent}")
        dataset = extract_features(pairs, features, **settings)
        extractor_files.write_feature_file(dataset, output)
        sizes = ", ".join(f"{len(split)} {part}" for part, split in dataset.splits())
        print(
            f"{output}: {sizes} pairs, images {dataset.image_dim}-D, texts {dataset.text_dim}-D\n"
            f"{extractor_files.beside(output)}: the extractors\n"
            f"train on it: python -m xgacmn_tf.main --dataset={output}"
        )
        return
    try:
        from xgacmn_tf.datasets.extraction.beam_pipeline import write_tfds
    except ImportError as error:
        raise InputError(
            f"--beam_options needs {error.name}; run `pip install 'xgacmn_tf[beam]'`"
        ) from error
    name = write_tfds(pairs, features, data_dir=output, beam_options=list(beam), **settings)
    print(f"train on it: python -m xgacmn_tf.main --dataset={name} --data_dir={output}")
