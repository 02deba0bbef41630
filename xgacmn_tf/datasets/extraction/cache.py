"""The cache of extractors and their features.

    <cache_dir>/image-vgg19-<fingerprint>/
        extractor/      the fitted extractor, see `registry.load_extractor`
        features/       the features of all items that it has encoded, see `feature_store`

The fingerprint covers the extractor's settings, the side of thumbnails and, if the extractor
learns, the content of the training items and the seed. Data sets share folders.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xgacmn_tf.datasets.extraction.feature_store import StoredFeatures, stored_features
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, Extractor
from xgacmn_tf.features.image_files import THUMBNAIL_SIDE, BadImageError
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.shards import REFUSE, read_item
from xgacmn_tf.io.files import temporary_for

EXTRACTOR = "extractor"


class FeatureCache:
    """A fitted extractor with its features.

    Args:
        cache_dir: the folder for the folders of all caches.
        extractor: as the registry returns it.
        training: (key, item) of the training split, which extractors learn from.
        on_bad_image: one of `shards.POLICIES`.
        seed: draws the training items that are learned from, if not all are.
        show_progress: whether to show progress bars.

    Raises:
        InputError: if the folder cannot be written.
    """

    def __init__(
        self,
        cache_dir: Path,
        extractor: Extractor,
        training: Sequence[tuple[str, Path | str]],
        on_bad_image: str,
        seed: int = 0,
        show_progress: bool = True,
    ):
        self.extractor, self._training, self._seed = extractor, training, seed
        self._on_bad_image, self._show_progress = on_bad_image, show_progress
        name = f"{extractor.modality}-{extractor.name}-{self._fingerprint()}"
        self.folder = Path(cache_dir) / name
        self.features_folder = self.folder / "features"
        try:
            self.features_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cache_dir={cache_dir}: cannot be written ({error.strerror}); name a folder where "
                "you may create files"
            ) from error

    def fitted(self) -> Extractor:
        """Return the extractor, fitted on the training split if it learns, and save it."""
        target = self.folder / EXTRACTOR
        if not (target / MANIFEST).exists():
            if self.extractor.learns:
                self.extractor.fit(self._training_items())
            # Renamed once it is complete: a folder of that name is always whole.
            temporary = temporary_for(target)
            shutil.rmtree(temporary, ignore_errors=True)
            self.extractor.save(temporary)
            with contextlib.suppress(OSError):  # Another process was first.
                temporary.rename(target)
            shutil.rmtree(temporary, ignore_errors=True)
        extractor = load_extractor(target)
        extractor.batch_size = self.extractor.batch_size
        return extractor

    def features(self, items: Mapping[str, Path | str]) -> StoredFeatures:
        """Return the features of distinct items, see `stored_features`."""
        extractor = self.fitted()
        with tqdm(
            total=len(items),
            desc=f"{extractor.modality}s: {extractor.name}",
            unit=extractor.modality,
            disable=not self._show_progress,
        ) as bar:
            return stored_features(
                self.features_folder, items, extractor, self._on_bad_image, bar.update
            )

    def _training_items(self) -> Iterator[Any]:
        """Yield the training items that are learned from, or a random sample of them."""
        order = np.random.default_rng(self._seed).permutation(len(self._training))
        sample = order[: self.extractor.fit_limit]
        rows: Iterable[int] = tqdm(
            np.sort(sample).tolist(),
            f"learning {self.extractor.name}",
            disable=not self._show_progress,
        )
        for row in rows:
            try:
                yield read_item(self.extractor, self._training[row][1])
            except BadImageError:
                if self._on_bad_image == REFUSE:
                    raise

    def _fingerprint(self) -> str:
        settings: list[Any] = [self.extractor.settings()]
        if self.extractor.modality == "image":
            settings.append(THUMBNAIL_SIDE)
        if self.extractor.learns:
            settings += [self._seed, [key for key, _ in self._training]]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
