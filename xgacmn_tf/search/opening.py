"""Opening of the galleries that a search of a run names."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from xgacmn_tf.gallery import ALL, TEST, Gallery
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.cache import RunCache, content_hash
from xgacmn_tf.search.sources import SPLITS, read_sources, readable, summary

logger = logging.getLogger(__name__)


class OpenGallery:
    """The items that searches look for.

    Args:
      run: the run.
      sources: see `sources`; none for the split that `TrainedRun.searched_split` names.
      cache_dir: folder of the cache; None for RUN/cache.

    Attributes:
      name: what pages call it.
      split: "all" if the items include those that the run was trained on, else "test".
      folder: the folder of the images, by id; None without one.
      cache: the cache.

    Raises:
      InputError: a source or the cache cannot be used.
    """

    def __init__(
        self,
        run: TrainedRun,
        sources: Sequence[str] = (),
        cache_dir: str | os.PathLike[str] | None = None,
    ):
        self._run, self.cache = run, RunCache(run, cache_dir)
        if not sources:
            split, note = run.searched_split()
            sources = [split]
            if note is not None:
                logger.info("only the test split is searched: %s", note)
        self.split = TEST if set(sources).isdisjoint(SPLITS) or {*sources} == {TEST} else ALL
        self.folder = next((Path(one) for one in sources if Path(one).is_dir()), None)
        self._gallery: Gallery | None = None
        splits = [one for one in sources if one in SPLITS]
        config = run.folder.read_config()
        dataset = config["settings"].get("dataset")
        names = [
            (f"{dataset}, all items" if one == ALL else f"{dataset}, {one} split")
            if one in SPLITS
            else readable(Path(one).resolve().name)
            for one in sources
        ]
        self.name = " and ".join(names)
        self._sources = sources
        if len(splits) == len(sources):  # The data set need not be loaded if all is in the cache.
            self._content = f"{config['data_fingerprint']} {','.join(sources)}"
        else:
            self._content = content_hash(self._load())

    def embedded(self, modality: str, captions: bool = True) -> Gallery:
        """Return the distinct items of one modality with embeddings, see `RunCache.embedded`."""
        return self.cache.embedded(self._content, self._load, modality, captions)

    def _load(self) -> Gallery:
        if self._gallery is None:
            self._gallery, bad = read_sources(self._run, self._sources, self.cache.features)
            if bad:
                logger.info("%s", summary(bad))
        return self._gallery
