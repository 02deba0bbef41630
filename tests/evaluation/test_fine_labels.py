"""Which fine labels say more than the category."""

import numpy as np

from xgacmn_tf.evaluation.fine_labels import fine_targets, has_finer_label


def test_folders_below_a_category_are_finer_and_the_category_itself_is_not():
    fine = ["animals", "animals/birds", "Signs_and-Symbols", "signs_and_symbols/flags"]
    names = ["animals", "signs and symbols"]
    finer = has_finer_label(np.array(fine), np.array([0, 0, 1, 1]), names)
    assert finer.tolist() == [False, True, False, True]


def test_a_fine_label_of_exactly_one_category_is_not_finer():
    # "pets" are all of category 0; "cars" are a part of category 1.
    fine = np.array(["pets", "pets", "cars", "boats", "cars"])
    finer = has_finer_label(fine, np.array([0, 0, 1, 1, 1]), ["animals", "vehicles"])
    assert finer.tolist() == [False, False, True, True, True]


def test_several_labels():
    # "a" is on every item of category 0, and on another item as well.
    hot = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], np.uint8)
    finer = has_finer_label(np.array(["a", "a", "a", "b"]), hot, ["x", "y"])
    assert finer.tolist() == [True, True, True, True]
    finer = has_finer_label(np.array(["a", "a", "c", "b"]), hot, ["x", "y"])
    assert finer.tolist() == [False, False, True, True]


def test_fine_labels_are_measured_among_all_items_and_among_those_with_a_finer_one():
    fine = np.array(["a", "a/x", "a/x", "b/x", "b/y", "b/y"])
    label = np.array([0, 0, 0, 1, 1, 1])
    targets = fine_targets(fine, label, ("a", "b"))
    assert {name: rows.tolist() for name, (rows, _) in targets.items()} == {
        "fine_mAP": [0, 1, 2, 3, 4, 5],
        "fine_mAP/finer": [1, 2, 3, 4, 5],
    }
    for rows, numbers in targets.values():
        for number, of_row in zip(numbers, fine[rows], strict=True):
            assert ((numbers == number) == (fine[rows] == of_row)).all()
    # Where all are finer, the second measure would be the first.
    assert list(fine_targets(fine, label, ("c", "d"))) == ["fine_mAP"]
    assert fine_targets(None, label, ("a", "b")) == {}
