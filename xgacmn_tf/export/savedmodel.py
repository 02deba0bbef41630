"""Export of a run's encoders and a gallery as a version of a SavedModel.

<base>/<name>/<version>/saved_model.pb, variables/   what a server loads
<base>/<name>/<version>/assets.extra/README.md       every signature with its inputs and outputs
<base>/<name>/<version>/assets.extra/run.json        the run's settings and data, and the gallery
<base>/<name>/<version>/assets.extra/gallery.npz     the gallery: features, ids, titles, images
<base>/<name>/<version>/assets.extra/tf_serving_warmup_requests
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from xgacmn_tf import gallery as galleries
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.raw_image import image_reader_of
from xgacmn_tf.export.raw_text import text_reader_of
from xgacmn_tf.export.serving import serving_module
from xgacmn_tf.export.signature_readme import signature_readme
from xgacmn_tf.export.versions import MODEL_NAME, check_name, new_version
from xgacmn_tf.export.versions import versions as existing_versions
from xgacmn_tf.export.warmup import write_warmup_requests
from xgacmn_tf.features.sentences import SentenceReader
from xgacmn_tf.gallery import ALL, TEST, TRAIN, Gallery
from xgacmn_tf.io.files import write_json
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.names import MODALITIES, SEARCH_SPLITS, model_name
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.provenance import git_commit, versions
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.settings.config import Config

DEPTH = 10
# Galleries of the run's own data set.
SOURCES = {
    ALL: "all items of the run's data set",
    TRAIN: "the run's training split",
    TEST: "the run's test split",
}


def export_run(
    run_dir: str | os.PathLike[str],
    base_dir: str | os.PathLike[str],
    name: str = MODEL_NAME,
    version: int | None = None,
    gallery: Sequence[str | os.PathLike[str]] | None = None,
    depth: int = DEPTH,
) -> Path:
    """Export a finished run's best encoders, with a gallery to search, for serving.

    Args:
      run_dir: the run folder.
      base_dir: the folder of models; this one is written to `<base_dir>/<name>/<version>/`.
      name: the name of the model for clients.
      version: a new version's number; None for the one after the largest.
      gallery: the items to search: gallery files (`xgacmn_tf.gallery`), and "all" for the items of
        the run's data set, "train" or "test" for those of a split; several are joined, see
        `gallery.join`. None for `TrainedRun.searched_split`.
      depth: number of items that a search returns, fixed by the export; a smaller gallery returns
        all it has. Images and texts are searched with each distinct one once.

    Returns:
      The version's folder.

    Raises:
      InputError: there is no finished run; its data set has changed; the gallery does not fit; the
        version exists; or the folder cannot be written.
    """
    check_name(name)
    if depth < 1:
        raise InputError(f"--depth={depth}: a search returns at least 1 item")
    run = TrainedRun(run_dir)
    note = None
    if gallery is None:
        split, note = run.searched_split()
        gallery = [split]
    parts = [
        run.gallery(str(part)) if part in SOURCES else galleries.from_file(part, run.dims)
        for part in gallery
    ]
    return export_encoder(
        run.encoder,
        run.similarity,
        galleries.join(parts),
        run.folder,
        base_dir,
        name,
        version,
        depth,
        source=" and ".join(SOURCES.get(str(part), "a file") for part in gallery)
        + (f" ({note})" if note else ""),
        label_names=run.label_names,
        split=TEST if {ALL, TRAIN}.isdisjoint(map(str, gallery)) else ALL,
    )


def export_trained(
    encoder: CommonSpaceEncoder,
    similarity: str,
    dataset: PairedDataset,
    config: Config,
    folder: RunFolder,
) -> str | None:
    """Write the first version of a run into its folder, with the items of its data set to search.

    Args:
      encoder: the run's encoders.
      similarity: what searches rank by.
      dataset: the run's data set.
      config: the settings of the run.
      folder: the run folder.

    Returns:
      Why not all items are searched; None if they are.
    """
    name = model_name(config.system.model)
    items = sum(len(part) for _, part in dataset.splits())
    dims = {"image": dataset.image_dim, "text": dataset.text_dim}
    split, note = galleries.searched_split(items, dims, config.data.streaming)
    # A resumed run keeps the version that it has exported: its encoders are the same.
    if not existing_versions(folder.models / name):
        export_encoder(
            encoder,
            similarity,
            galleries.from_dataset(dataset, split),
            folder,
            folder.models,
            name,
            source=SOURCES[split] + (f" ({note})" if note else ""),
            label_names=dataset.label_names,
            split=split,
        )
    return note and f"its searches find items of the {split} split only: {note}"


def export_encoder(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    folder: RunFolder,
    base_dir: str | os.PathLike[str],
    name: str = MODEL_NAME,
    version: int | None = None,
    depth: int = DEPTH,
    source: str = SOURCES[TEST],
    label_names: Sequence[str] | None = None,
    split: str = TEST,
) -> Path:
    """Write a version of encoders at hand.

    Args:
      encoder: trained encoders.
      similarity: what searches rank by.
      gallery: what is searched.
      folder: the run's folder, for its settings and its extractors.
      source: origin of the gallery, for the description in the version folder.
      label_names, split: as in `serving.serving_module`.
      base_dir, name, version, depth: as in `export_run`.

    Returns:
      The version's folder.
    """
    sizes = {modality: len(gallery.of_modality(modality)) for modality in gallery.features}
    depth = min(depth, max(sizes.values()))
    text_reader = text_reader_of(folder)
    module, signatures = serving_module(
        encoder,
        similarity,
        gallery,
        depth,
        text_reader,
        image_reader_of(folder),
        label_names,
        split,
    )
    record = _record(encoder, similarity, gallery, folder)
    record["gallery"] |= {"source": source, "searched": sizes, "depth": depth, "split": split}
    record["encoder"] = _encoder_record(encoder, similarity, label_names)
    # The modules that Python must import before it loads the model.
    imports = ["tensorflow", *["tensorflow_text"] * isinstance(text_reader, SentenceReader)]
    with new_version(Path(base_dir) / name, version) as (number, path):
        tf.saved_model.save(module, str(path), signatures)
        extra = path / "assets.extra"
        extra.mkdir()
        record |= {"version": number, "imports": imports}
        write_json(extra / "run.json", record)
        gallery.write(extra / "gallery.npz")
        write_warmup_requests(extra, name, signatures, gallery)
        readme = signature_readme(signatures, name, record)
        (extra / "README.md").write_text(readme, encoding="utf-8")
    return Path(base_dir) / name / str(number)


def _encoder_record(
    encoder: CommonSpaceEncoder, similarity: str, label_names: Sequence[str] | None
) -> dict[str, Any]:
    """Return the part of run.json that tells how to read the outputs of the encode signatures."""
    has_posteriors = encoder.has_posteriors(similarity)
    return {
        # The output `search` begins with this number of class posteriors.
        "posteriors": encoder.num_classes if has_posteriors else 0,
        "label_names": list(label_names) if label_names and has_posteriors else None,
        "code_dim": encoder.code_dim,
        # It ends with this number of columns of √item_weight times the item embedding.
        "item_dim": encoder.item_dim if encoder.has_items else 0,
        "item_weight": encoder.item_weight,
        "text_dim": encoder.text_map.output_dim,
        "match_thresholds": {
            split: {m: encoder.match_threshold(similarity, split, m) for m in MODALITIES}
            for split in SEARCH_SPLITS
        },
    }


def _record(
    encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery, folder: RunFolder
) -> dict[str, Any]:
    """Return the part of run.json that follows from a run and a gallery."""
    config = folder.recorded_config()
    return {
        # Without paths of the machine that trained.
        "settings": config.result_settings(),
        "config_fingerprint": config.fingerprint(),
        "data_fingerprint": folder.read_config()["data_fingerprint"],
        "similarity": similarity,
        "gallery": {
            "size": len(gallery),
            "modalities": list(gallery.features),
            # Whether both the image and the caption of an item are compared with a query.
            "captions": galleries.combines(encoder, similarity, gallery),
            # Whether texts are compared with captions by their features, too.
            "caption_features": galleries.compares_features(encoder, similarity, gallery),
        },
        "versions": versions(),
        "git_commit": git_commit(),
    }
