"""A run folder → one version of a SavedModel, whole or not at all.

<base>/<name>/<version>/saved_model.pb, variables/   what a server loads
<base>/<name>/<version>/assets.extra/README.md       every signature with its inputs and outputs
<base>/<name>/<version>/assets.extra/run.json        the run's settings and data, and the gallery
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import tensorflow as tf

import xgacmn_tf
from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.encoders import load_encoder
from xgacmn_tf.errors import InputError
from xgacmn_tf.export import gallery as galleries
from xgacmn_tf.export.raw_text import counter_of, is_bundled
from xgacmn_tf.export.serving import serving_module
from xgacmn_tf.export.signature_readme import signature_readme
from xgacmn_tf.export.versions import check_name, new_version
from xgacmn_tf.files import write_json
from xgacmn_tf.run_folder import RunFolder


def export_run(
    run_dir: str | os.PathLike,
    base_dir: str | os.PathLike,
    name: str = "xgacmn",
    version: int | None = None,
    gallery: str | os.PathLike | None = None,
    depth: int = 10,
) -> Path:
    """Exports a finished run's best encoders, with a gallery to search, for serving.

    Args:
      run_dir: the run folder.
      base_dir: where models lie; this one goes to `<base_dir>/<name>/<version>/`.
      name: what clients call the model.
      version: a new version's number; None for the one after the largest.
      gallery: `.npz` file of what is searched, see `gallery`; None for the run's test split. The
        same run with another gallery makes a new version without any training.
      depth: items that a search returns, fixed by the export; a smaller gallery returns all it has.

    Returns:
      The version's folder.

    Raises:
      InputError: there is no finished run; its data set has changed; the gallery does not fit; the
        version exists; or the folder cannot be written.
    """
    folder = RunFolder(run_dir)
    check_name(name)
    if depth < 1:
        raise InputError(f"--depth={depth}: a search returns at least 1 item")
    if not folder.is_finished() or not folder.config.exists():
        raise InputError(
            f"--run={folder.path}: there is no finished run (no metrics.json and config.json); "
            "name the folder of one, as `python -m xgacmn_tf.main` prints it"
        )
    record, similarity = folder.read_config(), folder.read_metrics().get("headline_similarity")
    encoder = load_encoder(folder.best)
    if similarity not in encoder.similarities():
        raise InputError(
            f"{folder.metrics}: headline_similarity is {similarity!r}; this run's encoders define "
            f"{', '.join(encoder.similarities())}"
        )
    config = folder.recorded_config()
    # The bundled words are not kept with the run, so they must be those of the run's own data.
    needs_data = gallery is None or is_bundled(record["settings"])
    dataset = _load_data(folder, config, record["data_fingerprint"]) if needs_data else None
    if gallery is None:
        assert dataset is not None
        items, source = galleries.from_split(dataset.test), "the run's test split"
    else:
        dims = {"image": encoder.image_map.input_dim, "text": encoder.text_map.input_dim}
        items, source = galleries.from_file(Path(gallery), dims), "from a file"
    depth = min(depth, len(items))
    module, signatures = serving_module(
        encoder, similarity, items, depth, counter_of(folder, record["settings"])
    )
    with new_version(Path(base_dir) / name, version) as (number, path):
        tf.saved_model.save(module, str(path), signatures)
        travelling = {
            "version": number,
            # Without the paths of the machine that trained: they are nobody else's business.
            "settings": config.result_settings(),
            "config_fingerprint": config.fingerprint(),
            "data_fingerprint": record["data_fingerprint"],
            "similarity": similarity,
            "gallery": {
                "source": source,
                "size": len(items),
                "modalities": list(items.features),
                "depth": depth,
            },
            "versions": {m.__name__: m.__version__ for m in (xgacmn_tf, tf, keras)},
        }
        extra = path / "assets.extra"
        extra.mkdir()
        write_json(extra / "run.json", travelling)
        (extra / "README.md").write_text(signature_readme(path, name, travelling), encoding="utf-8")
    return Path(base_dir) / name / str(number)


def _load_data(folder: RunFolder, config: Config, fingerprint: str) -> PairedDataset:
    # Imported here, so that `experiment` can end with an export.
    from xgacmn_tf.experiment import load_data

    dataset = load_data(config)
    if dataset.fingerprint != fingerprint:
        raise InputError(
            f"--run={folder.path} was trained on other contents of --dataset={config.dataset} than "
            "are there now; bring those back, or train again"
        )
    return dataset
