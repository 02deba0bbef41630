"""The model card of a run."""

import copy

import pytest

from xgacmn_tf.report.model_card import MAX_CATEGORIES, model_card
from xgacmn_tf.settings.config import Config

WAYS = ("i2t", "t2i", "avg")
METRICS = {
    "model": "xgacmn",
    "dataset": "shop",
    "date": "2026-01-02",
    "seed": 3,
    "versions": {"xgacmn_tf": "1", "tensorflow": "2", "keras": "3"},
    "git_commit": None,
    "headline_similarity": "posterior",
    "search_similarity": "item",
    "test": {"posterior": {"mAP": dict.fromkeys(WAYS, 0.25), "median_rank": {"avg": 4.25}}},
    "chance": {"mAP": dict.fromkeys(WAYS, 0.125)},
    "data_report": {"splits": {"test": {"pairs": 20, "groups": None}}, "notes": ["few pairs"]},
    "warnings": ["two images are equal"],
    "categories": [
        {"name": "lamps", "train_pairs": 9, "mAP": {"i2t": 0.5, "t2i": 0.75}},
        {"name": "chairs | stools", "train_pairs": 1200, "mAP": {"i2t": 0.25, "t2i": 0.5}},
        {"name": "no queries", "train_pairs": 3, "mAP": {"i2t": None, "t2i": None}},
    ],
}
EXTRACTORS = {"image": "vgg19", "text": "bow"}


def test_it_has_data_scores_and_warnings() -> None:
    card = model_card(METRICS, [], EXTRACTORS)
    assert "| test | 20 | – |" in card
    assert "| posterior | 0.250 | – | – | 4.2 | – | – |" in card
    assert "- Note: few pairs\n- **Warning**: two images are equal\n" in card
    assert "| similarity of searches | item |" in card
    assert "- posterior: inner product of class posteriors\n" in card and "- cosine" not in card


def test_the_weakest_category_comes_first_and_a_bar_stays_within_its_cell() -> None:
    card = model_card(METRICS, [], EXTRACTORS)
    assert card.index("chairs \\| stools | 1,200") < card.index("lamps | 9")
    assert "no queries" not in card


def test_many_categories_are_cut() -> None:
    metrics = copy.deepcopy(METRICS)
    metrics["categories"] *= MAX_CATEGORIES
    assert f"; {MAX_CATEGORIES} of {2 * MAX_CATEGORIES}." in model_card(metrics, [], EXTRACTORS)


def test_weights_have_licenses_and_learned_extractors_have_none() -> None:
    card = model_card(METRICS, [], EXTRACTORS)
    assert "| vgg19 weights | CC BY 4.0 |" in card
    assert "bow weights" not in card
    assert "| shop | not recorded" in card


def test_it_gives_the_command_that_trains_the_run_again() -> None:
    config = Config.of(dataset="my shop.csv", columns=("text=description",), code_dim=50, seed=3)
    card = model_card(METRICS, config.arguments(), EXTRACTORS)
    assert "    xgacmn train '--dataset=my shop.csv' --columns=text=description" in card
    assert "--code_dim=50 --seed=3\n" in card


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\n# Heading"])
def test_hostile_names_do_not_become_markup(name: str) -> None:
    card = model_card(METRICS | {"dataset": name}, [], {})
    assert "<script>" not in card
    assert "\n# Heading" not in card


def test_earlier_runs_without_optional_results_have_a_card() -> None:
    metrics = {k: v for k, v in METRICS.items() if k not in ("categories", "date")}
    assert "no threshold" in model_card(metrics, [], {})
