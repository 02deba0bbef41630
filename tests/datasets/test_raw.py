"""Raw pairs: what is refused when a data set of them is made."""

from pathlib import Path

import pytest

from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError


def pair(name, label=0):
    return RawPair(name, Path(f"{name}.jpg"), f"text of {name}", label)


def make(train, test, validation=()):
    return RawPairs("mine", tuple(train), tuple(test), ("cat", "dog"), tuple(validation))


def test_splits_name_a_validation_part_only_where_there_is_one():
    train, test, validation = pair("a"), pair("b", 1), pair("c")
    assert make([train], [test]).splits() == {"train": (train,), "test": (test,)}
    splits = make([train], [test], [validation]).splits()
    assert list(splits) == ["train", "validation", "test"]
    assert splits["validation"] == (validation,)


def test_several_labels_a_pair():
    assert make([pair("a", (0, 1))], [pair("b", (1,))]).train[0].label == (0, 1)


def test_the_checks_read_each_label_a_few_times(monkeypatch):
    """A number that grows with the pairs would make checking them quadratic."""
    reads = []

    class Counting(RawPair):
        def __getattribute__(self, name):
            if name == "label":
                reads.append(name)
            return super().__getattribute__(name)

    # The first label comes after many pairs without one.
    labels = [None] * 100 + [0] * 100
    train = [Counting(f"{k}", Path(f"{k}.jpg"), "a text", of) for k, of in enumerate(labels)]
    make(train, [pair("a")])
    assert len(reads) <= 5 * len(train)


@pytest.mark.parametrize(
    ("train", "test", "validation", "message"),
    [
        ([], [pair("a")], [], "train has no pair"),
        ([pair("a")], [], [], "test has no pair"),
        ([pair("a"), pair("a")], [pair("b")], [], "'a' is a duplicate, in train and train"),
        ([pair("a")], [pair("b")], [pair("b")], "'b' is a duplicate, in validation and test"),
        ([pair("a", 2)], [pair("b")], [], "'a' has label 2; expected 0 to 1"),
        ([pair("a")], [pair("b", -1)], [], "'b' has label -1; expected 0 to 1"),
        ([pair("a", ())], [pair("b", (0,))], [], r"'a' has label \(\)"),
        ([pair("a", (0, 2))], [pair("b", (0,))], [], r"'a' has label \(0, 2\)"),
        ([pair("a", (0,))], [pair("b", 0)], [], r"'b' has label 0, the first one \(0,\)"),
    ],
)
def test_broken_pairs(train, test, validation, message):
    with pytest.raises(InputError, match=f"data set 'mine': .*{message}"):
        make(train, test, validation)
