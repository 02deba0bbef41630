"""Command that extracts features from raw images and texts: `python -m xgacmn_tf.features`.

    python -m xgacmn_tf.features --dataset=pairs.csv \\
        --image=efficientnet_lite2 --text=bow --output=features.npz
        writes features.npz, for `python -m xgacmn_tf.main --dataset=features.npz`, and
        features.extractors/, the extractors as they were learned.
    python -m xgacmn_tf.features --dataset=nuswide --data_dir=DIR \\
        --image=vgg19 --text=bow --output=FOLDER/ --beam_options=--runner=DirectRunner
        the same as an Apache Beam pipeline, into a TFDS data set.

Running the same command again goes on with an extraction that was interrupted.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from xgacmn_tf import datasets
from xgacmn_tf.datasets import catalog
from xgacmn_tf.datasets.extraction import extract_features, extractor_files
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS
from xgacmn_tf.features.shards import POLICIES
from xgacmn_tf.settings.command_line import configure_logging, parse, stop

# Not absl's global flags: those are the training command's.
VALUES = flags.FlagValues()
flags.DEFINE_string(
    "dataset",
    None,
    f"pairs to read: {', '.join(catalog.DISTRIBUTED)}, or a .csv or .tsv table with the columns "
    "image, text, label",
    flag_values=VALUES,
)
flags.DEFINE_string("data_dir", None, "folder that holds the data set's files", flag_values=VALUES)
flags.DEFINE_list(
    "columns",
    [],
    "columns of a table that calls them otherwise, such as text=caption",
    flag_values=VALUES,
)
flags.DEFINE_string("protocol", None, "which split of the data set", flag_values=VALUES)
flags.DEFINE_enum("image", None, IMAGE_EXTRACTORS, "features to make of images", flag_values=VALUES)
flags.DEFINE_enum("text", None, TEXT_EXTRACTORS, "features to make of texts", flag_values=VALUES)
flags.DEFINE_string(
    "image_weights",
    None,
    "file of weights (vgg19, efficientnet_lite…) or preset (clip, siglip); by default the usual "
    "ones, downloaded or from an installed package",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "text_weights",
    None,
    "folder of a sentence-transformers model (sentence, minilm), or preset or its folder (clip, "
    "siglip)",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "output",
    None,
    "feature file to write (.npz), or a folder with --beam_options",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "cache_dir", None, "folder that keeps features between runs", flag_values=VALUES
)
flags.DEFINE_enum(
    "on_bad_image",
    "refuse",
    POLICIES,
    "what happens at an image that cannot be used: an error, or its pair is left out and reported",
    flag_values=VALUES,
)
flags.DEFINE_integer(
    "batch_size", 32, "items that a network sees at once", lower_bound=1, flag_values=VALUES
)
flags.DEFINE_integer(
    "seed", 0, "seed of random splits and of what is learned", lower_bound=0, flag_values=VALUES
)
flags.DEFINE_multi_string(
    "beam_options",
    None,
    "run as an Apache Beam pipeline with this option of Beam's; can be given several times",
    flag_values=VALUES,
)
_REQUIRED = ("dataset", "image", "text", "output")


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    parse(VALUES, argv, __doc__)
    configure_logging()
    try:
        lacking = [f"--{name}" for name in _REQUIRED if VALUES[name].value is None]
        if lacking:
            raise InputError(f"{' and '.join(lacking)} must be given. See --help")
        _run()
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from what it has kept", status=130)


def _run() -> None:
    output, beam = Path(VALUES.output), VALUES.beam_options
    if beam is None and output.suffix != ".npz":
        raise InputError(f"--output={output}: expected a name that ends in .npz")
    cache_dir = Path(VALUES.cache_dir or datasets.default_cache_dir())
    pairs = datasets.load_raw(
        VALUES.dataset, VALUES.data_dir, VALUES.protocol, VALUES.seed, cache_dir, VALUES.columns
    )
    settings: dict[str, Any] = {
        name: VALUES[name].value
        for name in ("image_weights", "text_weights", "on_bad_image", "batch_size", "seed")
    }
    if beam is None:
        if not output.parent.is_dir():
            raise InputError(f"--output={output}: there is no folder {output.parent}")
        dataset = extract_features(
            pairs, VALUES.image, VALUES.text, cache_dir=cache_dir, **settings
        )
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
            f"--beam_options needs {error.name}; run `pip install xgacmn_tf[beam]`"
        ) from error
    name = write_tfds(
        pairs,
        VALUES.image,
        VALUES.text,
        cache_dir=cache_dir,
        data_dir=output,
        beam_options=beam,
        **settings,
    )
    print(f"train on it: python -m xgacmn_tf.main --dataset={name} --data_dir={output}")


if __name__ == "__main__":
    main(sys.argv)
