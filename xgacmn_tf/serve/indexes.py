"""The search indexes of a service, as its options name them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from xgacmn_tf.errors import InputError
from xgacmn_tf.search.engines import make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.milvus_index import MAX_HITS, TOKEN
from xgacmn_tf.serve.options import ServiceOptions


def index_maker(options: ServiceOptions, generation: int) -> Callable[[str, int], Index]:
    """Return what makes the index of a modality for a number of items.

    Args:
      options: the options of the service.
      generation: number of the live gallery; the collections of the earlier one answer until the
        switch.

    Raises:
      InputError: the options do not fit.
    """
    if options.index == "milvus" and options.max_k > MAX_HITS:
        raise InputError(f"--max_k={options.max_k}: Milvus returns at most {MAX_HITS:,} hits")
    folder = str(options.items_folder.resolve())
    # Services of different runs may share a server.
    own = f"xgacmn_{hashlib.sha256(folder.encode()).hexdigest()[:8]}"
    prefix = options.milvus_collection or own

    def make(modality: str, size: int) -> Index:
        return make_index(
            options.index,
            size,
            milvus_uri=options.milvus_uri,
            milvus_collection=f"{prefix}_{modality}_{generation % 2}",
            milvus_token=os.environ.get(TOKEN),
        )

    return make
