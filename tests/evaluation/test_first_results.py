"""First results and the spread of searches, against plain loops."""

import numpy as np
import pytest

from xgacmn_tf.evaluation.first_results import first_results, spread_measures
from xgacmn_tf.evaluation.identity import Identity, directions


@pytest.mark.parametrize("deduplicated", [False, True])
def test_spread_against_plain_loops(deduplicated):
    rng = np.random.default_rng(0)
    image, text = rng.integers(-3, 4, (2, 60, 3)).astype(np.float32)
    image = image[np.arange(60) // 3]
    identity = Identity.of(image, text, np.arange(60) // 3)
    measures = spread_measures(first_results(image, text, identity, deduplicated))
    for way, direction in directions(identity, deduplicated).items():
        sides = (image, text) if way == "i2t" else (text, image)
        found = [
            np.argsort(-(sides[1][direction.gallery] @ sides[0][query]), kind="stable")[:10]
            for query in direction.query
        ]
        assert measures["distinct_first"][way] == len({int(items[0]) for items in found})
        share = len(set(np.concatenate(found).tolist())) / len(direction.gallery)
        assert measures["coverage@10"][way] == share
    for values in measures.values():
        assert values["avg"] == (values["i2t"] + values["t2i"]) / 2
