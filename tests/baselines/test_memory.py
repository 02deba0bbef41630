"""No closed-form system forms a matrix of all pairs of items."""

import tracemalloc

import pytest

from xgacmn_tf import baselines

# NumPy's memory is traced, TensorFlow's is not: those trained in batches are left to
# benchmarks/compared_systems.py.
CLOSED_FORM = ("cca", "cca_3v", "lcfs", "jrl", "jfssl", "pacmr", "sm", "spgcm")
# So few that what a pair of items would take stands out.
SETTINGS = {"jrl": ("neighbours=10",), "pacmr": ("centres=20",)}


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_memory_is_far_below_that_of_all_pairs(name, many_pairs):
    settings = baselines.parse_settings(name, SETTINGS.get(name, ()))
    tracemalloc.start()
    try:
        baselines.system(name).fit(many_pairs, settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A byte for every two items.
    assert peak < len(many_pairs.image) ** 2
