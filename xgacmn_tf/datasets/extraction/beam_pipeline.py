"""Feature extraction as an Apache Beam pipeline, for data sets too large for one machine.

`ExtractFeatures` is the step that a pipeline puts between its source of pairs and its sink.
`write_tfds` is a whole pipeline: it writes a TFDS data set in shards, which
`--dataset=extracted_pairs/<config> --data_dir=<folder>` reads. Any of Beam's runners can be used:
the local one, Dataflow, Flink or Spark. Extractors are fitted before, on the training split, and
every worker loads them from a folder, so this folder and the images must be on a shared disk.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions

from xgacmn_tf.datasets.extraction import extractor_files
from xgacmn_tf.datasets.extraction.cache import EXTRACTOR
from xgacmn_tf.datasets.extraction.extract import (
    dataset_name,
    feature_caches,
    title,
)
from xgacmn_tf.datasets.extraction.extracted_pairs.extracted_pairs_dataset_builder import Builder
from xgacmn_tf.datasets.labels import label_array
from xgacmn_tf.datasets.paired_builder import PairedConfig
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.shards import REFUSE, check_policy, make_shard
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.settings.sections import FeatureSpec


class ExtractFeatures(beam.PTransform):
    """(key, `RawPair`) → (key, {"image", "text", "label", "id", "title", "thumbnail"}).

    Pairs with a group have "group" as well. Features are those of `extract_features` up to
    rounding, which depends on the other images of a batch. Pairs whose image cannot be used end the
    pipeline, or are left out and counted in the metric `features/left_out`.

    Args:
        extractors: a folder with `image/` and `text/`, see `extractor_files`.
        num_classes: length of the multi-hot rows of pairs with several classes.
        on_bad_image: one of `shards.POLICIES`.
        batch_size: number of pairs that a network encodes at once.
    """

    def __init__(
        self,
        extractors: Path,
        num_classes: int,
        on_bad_image: str = "refuse",
        batch_size: int = 32,
    ):
        super().__init__()
        check_policy(on_bad_image)
        self.batch_size = batch_size
        self.extract = _ExtractBatch(str(extractors), num_classes, on_bad_image, batch_size)

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        size = self.batch_size
        return (
            pairs
            # A source may read on one worker; this distributes the pairs.
            | beam.Reshuffle()
            | beam.BatchElements(min_batch_size=size, max_batch_size=size)
            | beam.ParDo(self.extract)
        )


class _ExtractBatch(beam.DoFn):
    def __init__(self, folder: str, num_classes: int, on_bad_image: str, batch_size: int):
        self.folder, self.num_classes = folder, num_classes
        self.on_bad_image, self.batch_size = on_bad_image, batch_size
        self.left_out = beam.metrics.Metrics.counter("features", "left_out")

    def setup(self) -> None:
        """Load the extractors in each worker: networks are not sent through the pipeline."""
        self.image, self.text = (load_extractor(Path(self.folder) / m) for m in MODALITIES)
        self.image.batch_size = self.text.batch_size = self.batch_size
        self.pool = ThreadPoolExecutor(1)  # Runners bring their own parallel workers.

    def teardown(self) -> None:
        self.pool.shutdown()

    def process(self, batch: list[tuple[Any, RawPair]]) -> Iterator[tuple[Any, dict[str, Any]]]:
        paths = [pair.image for _, pair in batch if pair.image]
        images = make_shard(self.image, paths, self.on_bad_image, self.pool)
        self.left_out.inc(len(images.bad))
        usable = [batch[row] for row in images.row]
        texts = make_shard(self.text, [pair.text or "" for _, pair in usable], REFUSE, self.pool)
        for row, (key, pair) in enumerate(usable):
            yield (
                key,
                {
                    "image": images.feature[row],
                    "text": texts.feature[row],
                    "label": label_array(
                        [pair.label], self.num_classes, isinstance(pair.label, tuple)
                    )[0],
                    "id": pair.id,
                    "title": title(pair.text or ""),
                    "thumbnail": images.thumbnail[row],
                    **({} if pair.group is None else {"group": pair.group}),
                },
            )


def write_tfds(
    pairs: RawPairs,
    features: FeatureSpec,
    *,
    data_dir: Path,
    beam_options: Sequence[str],
    batch_size: int = 32,
    seed: int = 0,
    show_progress: bool = True,
) -> str:
    """Extract features with a Beam pipeline and write them as a TFDS data set.

    Args:
        data_dir: TFDS's data folder, which receives the data set.
        beam_options: Beam's own options, such as ["--runner=DataflowRunner", …].

    All other arguments are those of `extract_features`.

    Returns:
        The data set's name for `--dataset`, "extracted_pairs/<config>". The extractors are saved
        in `<data_dir>/<config>.extractors`.

    Raises:
        InputError: see `extract_features`; or if the pipeline fails.
    """
    incomplete = next((pair for pair in pairs.train if not pair.is_complete), None)
    if incomplete:
        raise InputError(
            f"data set {pairs.name!r}: pair {incomplete.id!r} lacks its image, text or label; "
            "expected complete pairs, so remove it, or extract features without --beam_options"
        )
    saved: dict[str, Path] = {}
    dims: dict[str, int] = {}
    parts = {"train": pairs.train}
    for _, cache in feature_caches(parts, features, batch_size, seed, show_progress):
        modality = cache.extractor.modality
        dims[modality] = cache.fitted().dim
        saved[modality] = cache.folder / EXTRACTOR
    config = PairedConfig(
        name=dataset_name(Path(pairs.name).stem, features),
        description=f"{pairs.name}: {features.image_features} features of images, "
        f"{features.text_features} features of texts.",
        image_dim=dims["image"],
        text_dim=dims["text"],
        label_names=pairs.label_names,
        multi_label=pairs.multi_label,
        described=True,
        has_thumbnails=True,
        grouped=pairs.train[0].group is not None,
    )
    builder = Builder(config=config, data_dir=str(data_dir))
    if Path(builder.data_dir).exists():
        raise InputError(
            f"{builder.data_dir} exists already; delete it to extract the features again, or name "
            "another folder"
        )
    folder = extractor_files.make_folder(Path(data_dir) / f"{config.name}.extractors", saved)
    extract = ExtractFeatures(folder, len(pairs.label_names), features.on_bad_image, batch_size)
    builder.sources = {
        part: beam.Create(list(enumerate(split))) | f"extract {part}" >> extract
        for part, split in pairs.splits().items()
    }
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                beam_options=PipelineOptions(list(beam_options))
            )
        )
    except Exception as error:  # Runners and workers raise many types, wrapped by Beam.
        raise InputError(f"the Beam pipeline failed: {_cause(error)}") from error
    return f"{builder.name}/{config.name}"


def _cause(error: Exception) -> str:
    """Return the line that names the cause: runners quote a worker's whole traceback."""
    lines = [line for line in str(error).splitlines() if "Error: " in line]
    return lines[-1].strip() if lines else one_line(error)
