"""Nearest names: which ones a mistyped name is most likely meant for."""

import pytest

from xgacmn_tf.nearest import did_you_mean, nearest

NAMES = (
    *("dataset", "data_dir", "batch_size", "generator_learning_rate", "k", "max_k"),
    *("discriminator_learning_rate", "epochs", "item_epochs", "choose_epoch", "lambda_1"),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr", ["generator_learning_rate", "discriminator_learning_rate"]),
        ("learning-rate", ["generator_learning_rate", "discriminator_learning_rate"]),
        ("learn_rate", ["generator_learning_rate", "discriminator_learning_rate"]),
        ("glr", ["generator_learning_rate"]),
        ("epoch", ["epochs", "item_epochs", "choose_epoch"]),
        ("num_epochs", ["epochs"]),
        ("epcohs", ["epochs"]),
        ("batchsize", ["batch_size"]),
        ("Batch-Size", ["batch_size"]),
        ("batch", ["batch_size"]),
        ("data", ["dataset", "data_dir"]),
        ("K", ["k"]),
        ("top_k", ["k"]),
        ("lambda1", ["lambda_1"]),
        ("e", []),
        ("colour", []),
        ("", []),
        ("--", []),
    ],
)
def test_the_first_rule_that_fits_names_all(name, expected):
    assert nearest(name, NAMES) == expected


def test_a_letter_stands_for_itself_alone():
    assert nearest("k", ("max_k", "api_key_file")) == ["max_k"]


def test_no_more_names_than_a_line_holds():
    assert len(nearest("image", [f"image_{letter}" for letter in "abcdef"])) == 3


def test_the_question_lists_them():
    assert did_you_mean("vgg", ("vgg19", "sift")) == "; did you mean vgg19?"
    assert did_you_mean("data", NAMES, "--") == "; did you mean --dataset or --data_dir?"
    assert did_you_mean("epoch", NAMES).endswith("epochs, item_epochs or choose_epoch?")
    assert did_you_mean("colour", NAMES) == ""
