"""CPU time of the feature extractors on one core, for each image or text.

    python benchmarks/extractors.py pairs.csv
    python benchmarks/extractors.py pairs.csv --extractors=efficientnet_lite2,minilm --items=96

The table has the columns `image`, `text` and `label`. The process is bound to one core and its CPU
time counts, because wall time would include the waiting for other processes. Images are decoded
before the measurement, which covers preprocessing and encoding in batches, after a first batch that
builds the network. Learned extractors are fitted to the same items first. An extractor whose
package or weights are missing is skipped with the reason; those of CLIP, SigLIP and VGG-19 are
downloaded.
"""

import argparse
import os
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

# Thread pools are sized when the libraries are imported.
from arguments import Parser, some_of

from xgacmn_tf import datasets
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.image_files import open_image
from xgacmn_tf.features.registry import (
    IMAGE_EXTRACTORS,
    TEXT_EXTRACTORS,
    image_extractor,
    text_extractor,
)

NAMES = tuple(dict.fromkeys([*IMAGE_EXTRACTORS, *TEXT_EXTRACTORS]))


def milliseconds(extractor: Extractor, items: list) -> float:
    """Return the CPU time of one item, without loading and fitting."""
    extractor.check()
    if extractor.learns:
        extractor.fit(items)
    first = items[: extractor.batch_size]
    extractor.encode([extractor.prepare(item) for item in first])
    start = time.process_time()
    for begin in range(0, len(items), extractor.batch_size):
        batch = items[begin : begin + extractor.batch_size]
        extractor.encode([extractor.prepare(item) for item in batch])
    return 1000 * (time.process_time() - start) / len(items)


def main() -> None:
    """Print a table of the extractors."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="table of pairs")
    parser.add_argument("--extractors", type=some_of(NAMES), default=NAMES, help="default: all")
    parser.add_argument("--items", type=int, default=192, help="training pairs to read")
    arguments = parser.parse_args()
    try:
        pairs = datasets.load_raw(arguments.table).train
    except InputError as error:
        parser.error(str(error))
    complete = [pair for pair in pairs if pair.is_complete]
    complete = complete[:: max(1, len(complete) // arguments.items)][: arguments.items]
    images = [open_image(pair.image) for pair in complete]
    texts = [pair.text for pair in complete]
    print("| modality | extractor | dimensions | ms of one core |\n|---|---|---|---|")
    for modality, known, make, items in (
        ("image", IMAGE_EXTRACTORS, image_extractor, images),
        ("text", TEXT_EXTRACTORS, text_extractor, texts),
    ):
        for name in (name for name in arguments.extractors if name in known):
            try:
                extractor = make(name)
                spent = milliseconds(extractor, items)
            except InputError as error:
                print(f"| {modality} | {name} | | {error} |", flush=True)
            else:
                print(f"| {modality} | {name} | {extractor.dim:,} | {spent:.2g} |", flush=True)


if __name__ == "__main__":
    main()
