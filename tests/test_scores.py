"""Whole trainings held to the scores that README and the flag files name. Slow: `make test-all`."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from xgacmn_tf import datasets, experiment
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.map_choice import fit_map
from xgacmn_tf.settings.config import Config

pytestmark = pytest.mark.slow


def run(config, folder, **changes):
    config = config.replace(output_dir=str(folder), **changes)
    return experiment.run(config)["test"]


@pytest.mark.parametrize(
    ("protocol", "cosine", "posterior"), [("2173", 0.275, 0.300), ("1300", 0.272, 0.297)]
)
def test_wikipedia_reaches_its_scores(parse, wikipedia_dir, tmp_path, protocol, cosine, posterior):
    config = parse(f"--flagfile=flags/wikipedia_shallow_{protocol}.flags")
    results = [
        run(config, tmp_path / str(seed), seed=seed, data_dir=str(wikipedia_dir))
        for seed in range(5)
    ]
    for similarity, least in (("cosine", cosine), ("posterior", posterior)):
        assert np.mean([result[similarity]["mAP"]["avg"] for result in results]) >= least


def test_the_default_run_finds_categories_and_items(tmp_path):
    scores = run(Config(), tmp_path / "run")
    assert scores["posterior"]["mAP"]["avg"] >= 0.75
    least = {"mAP": 0.70, "R@10": 0.46, "fine_mAP": 0.42, "coverage@10": 0.6}
    found = {name: scores["item"][name]["avg"] for name in least}
    assert all(found[name] >= value for name, value in least.items()), found


def test_openclipart_beats_logistic_regression(tmp_path):
    """The same features and similarity, without X-GACMN: posteriors of two linear classifiers."""
    config = Config.of(dataset="openclipart", text_features="bow")
    dataset = datasets.for_config(config)
    scaler = StandardScaler().fit(dataset.train.image)
    words = fit_map("tfidf", dataset.train.text, "text")
    posteriors = []
    for train, test in (
        (scaler.transform(dataset.train.image), scaler.transform(dataset.test.image)),
        # scikit-learn's tf-idf rows have unit length.
        (
            words(dataset.train.text).numpy() / 1000**0.5,
            words(dataset.test.text).numpy() / 1000**0.5,
        ),
    ):
        model = LogisticRegression(max_iter=1000).fit(train, dataset.train.label)
        posteriors.append(model.predict_proba(test))
    reference = mean_average_precision(*posteriors, dataset.test.targets(10))
    ours = run(config, tmp_path / "run")["posterior"]["mAP"]
    assert ours["i2t"] > reference["i2t"] and ours["t2i"] > reference["t2i"] + 0.02
