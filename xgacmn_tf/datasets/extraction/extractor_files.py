"""Extractors saved beside their features, so that raw images and texts can be served.

`extract_features` names a folder as the data set's `source`, the command writes one beside its
feature file, and the bundled clip art ships one; all hold `image/` and `text/`, each as
`registry.load_extractor` reads it.
"""

import hashlib
import itertools
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.feature_file import OPTIONAL, REQUIRED
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.features.extractor import MANIFEST, install_command
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.io.files import atomic_path, read_json, temporary_for, write_json
from xgacmn_tf.names import MODALITIES

_OF_FILE = "feature_file.json"


def saved_extractors(dataset: PairedDataset) -> Path | None:
    """Return the folder with the extractors that made a data set's features; None if none is known.

    Beside a feature file only a folder that was written for that very content counts.
    """
    source = Path(dataset.source)
    folder = source if source.is_dir() else beside(source)
    if not dataset.source or not _complete(folder):
        return None
    if source.is_file():
        try:
            recorded = read_json(folder / _OF_FILE)
        except (OSError, ValueError):
            return None
        if recorded != {"content": content_hash(source)}:
            return None
    return folder


def extractor_names(dataset: PairedDataset) -> dict[str, str]:
    """Return modality → name of the extractor of a data set's features, as far as known."""
    saved = saved_extractors(dataset)
    if saved is None:
        return {}
    return {modality: read_json(saved / modality / MANIFEST)["name"] for modality in MODALITIES}


def keep_extractors(dataset: PairedDataset, folder: Path) -> bool:
    """Copy a data set's extractors to `folder`, if they are known. Return whether they are."""
    saved = saved_extractors(dataset)
    if saved is None:
        return False
    make_folder(folder, {modality: saved / modality for modality in MODALITIES})
    return True


def missing_note(folder: Path) -> str | None:
    """Return one line on how to make saved extractors usable; None if nothing is missing.

    Args:
        folder: holds extractors by modality; one that does not exist holds none.
    """
    missing = {
        modality: load_extractor(folder / modality).missing()
        for modality in ("text", "image")
        if (folder / modality / MANIFEST).is_file()
    }
    queries = {"text": "typed sentences", "image": "image files"}
    searched = " and ".join(queries[modality] for modality in missing if missing[modality])
    command = install_command(itertools.chain(*missing.values()))
    if not command:
        return None
    return f"to search with {searched}, here and in models exported afterwards: {command}"


def make_folder(folder: Path, extractors: Mapping[str, Path]) -> Path:
    """Fill a folder with saved extractors by modality, atomically, replacing it."""
    temporary = temporary_for(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    for modality, saved in extractors.items():
        # A hard link takes no space, and these files are replaced but never written into.
        shutil.copytree(saved, temporary / modality, copy_function=_link_or_copy)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary)
        if not _complete(folder):  # Unless another process has just put the same there.
            raise
    return folder


def write_feature_file(dataset: PairedDataset, path: Path) -> None:
    """Write a data set as `datasets.feature_file` reads it, and its extractors beside it."""
    arrays = {"label_names": np.array(dataset.label_names, dtype=str)}
    for part, split in dataset.splits():
        for field in (*REQUIRED, *OPTIONAL):
            if getattr(split, field) is not None:
                arrays[f"{field}_{part}"] = getattr(split, field)
    with atomic_path(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    if keep_extractors(dataset, beside(path)):
        write_json(beside(path) / _OF_FILE, {"content": content_hash(path)})


def beside(feature_file: Path) -> Path:
    """features.npz → features.extractors, the folder for its extractors."""
    return feature_file.with_suffix(".extractors")


def content_hash(feature_file: Path) -> str:
    """SHA-256 (hex) over the names, sizes and checksums that a `.npz` lists: quick at any size."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(feature_file) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                digest.update(f"{member.filename}\0{member.file_size}\0{member.CRC}\0".encode())
    except (OSError, zipfile.BadZipFile):
        pass  # A .mat file: nothing of ours was written beside it.
    return digest.hexdigest()


def _complete(folder: Path) -> bool:
    return all((folder / modality / MANIFEST).is_file() for modality in MODALITIES)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, or one without links.
        shutil.copy2(source, target)
