"""Finding the items of a gallery that are most similar to a query.

`make_index` chooses an engine by name or by the gallery's size, `load_index` reads one that was
saved, `tune` measures its recall against exact search and raises its effort until that suffices.
All engines compare by the inner product and answer alike; `index` has the contract.
"""

from xgacmn_tf.search.engines import KINDS, load_index, make_index
from xgacmn_tf.search.index import Hits, Index
from xgacmn_tf.search.recall import Recall, tune

__all__ = ["KINDS", "Hits", "Index", "Recall", "load_index", "make_index", "tune"]
