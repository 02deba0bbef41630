"""Classifiers of scikit-learn and CCA of cca-zoo as references of cross-modal retrieval.

A classifier is fitted to each modality alone, and a pair is compared by the inner product of class
posteriors, as X-GACMN compares. CCA reads no labels and is compared by the cosine.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, normalize, scale
from sklearn.svm import SVC

from xgacmn_tf.datasets.paired import Split

FOLDS = 5
# Larger training splits choose settings of the SVM and of CCA on a part: the time of both searches
# grows faster than its size.
SEARCH_PAIRS = 1000
# Shares of the identity in each covariance matrix.
SHRINKAGE = (0.01, 0.1, 0.3, 0.6, 0.9)

Represented = tuple[np.ndarray, np.ndarray]


def represent(name: str, train: Split, test: Split, seed: int) -> Represented:
    """Return representations (n, e) of the test images and of the test texts.

    Args:
      name: one of `REFERENCES`.
      train: complete pairs with one label each.
      test: n pairs.
      seed: draws folds and samples.
    """
    with warnings.catch_warnings():
        # Searches try values with which a classifier does not converge, and scikit-learn announces
        # changes of defaults.
        warnings.simplefilter("ignore")
        if name == "cca":
            return _cca(train, test, seed)
        return tuple(
            CLASSIFIERS[name](getattr(train, modality), train.label, seed).predict_proba(
                getattr(test, modality)
            )
            for modality in ("image", "text")
        )


def _folds(label: np.ndarray, seed: int) -> StratifiedKFold:
    """Return as many folds as leave pairs of every class, at most `FOLDS`."""
    smallest = int(np.unique(label, return_counts=True)[1].min())
    return StratifiedKFold(min(FOLDS, max(2, smallest)), shuffle=True, random_state=seed)


def _search_rows(label: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows on which settings are chosen, a stratified sample."""
    rows = np.arange(len(label))
    if len(rows) <= SEARCH_PAIRS:
        return rows
    return train_test_split(rows, train_size=SEARCH_PAIRS, stratify=label, random_state=seed)[0]


def _logistic_regression(features: np.ndarray, label: np.ndarray, seed: int) -> Pipeline:
    """Multinomial logistic regression, whose C has the minimum log-loss of the folds."""
    search = LogisticRegressionCV(
        Cs=10.0 ** np.arange(-4, 3),
        l1_ratios=(0,),
        cv=_folds(label, seed),
        scoring="neg_log_loss",
        max_iter=1000,
        use_legacy_attributes=False,
    )
    return make_pipeline(StandardScaler(), search).fit(features, label)


def _svm(features: np.ndarray, label: np.ndarray, seed: int) -> Pipeline:
    """An SVM with a Gaussian kernel, C and γ by accuracy of the folds, and Platt's scaling.

    With fewer than about five pairs in a class, Platt's scaling is unreliable.
    """
    grid = {
        "svc__C": (0.1, 1, 10, 100),
        "svc__gamma": np.array([0.1, 0.3, 1, 3]) / features.shape[1],
    }
    rows = _search_rows(label, seed)
    pipeline = make_pipeline(StandardScaler(), SVC())
    search = GridSearchCV(pipeline, grid, cv=_folds(label[rows], seed), refit=False)
    best = search.fit(features[rows], label[rows]).best_params_
    # scikit-learn 1.9 announces the removal of `probability`, but the pairwise coupling behind it
    # gives better posteriors than the recommended `CalibratedClassifierCV`.
    pipeline.set_params(**best, svc__probability=True, svc__random_state=seed)
    return pipeline.fit(features, label)


def _boosting(features: np.ndarray, label: np.ndarray, seed: int) -> HistGradientBoostingClassifier:
    """Gradient boosting of histograms with its default settings, except in small splits."""
    # With the default of 20 rows in a leaf, a few dozen pairs could not be divided.
    leaf = min(20, max(1, len(label) // 20))
    model = HistGradientBoostingClassifier(min_samples_leaf=leaf, random_state=seed)
    return model.fit(features, label)


def _cca(train: Split, test: Split, seed: int) -> Represented:
    """Regularized CCA; dimension and shrinkage have the maximum sum of held-out correlations."""
    from cca_zoo.linear import RidgeCCA

    scalers = [StandardScaler().fit(np.float64(x)) for x in (train.image, train.text)]
    views, test_views = (
        [scaler.transform(np.float64(x)) for scaler, x in zip(scalers, pairs, strict=True)]
        for pairs in ((train.image, train.text), (test.image, test.text))
    )
    dim = min(train.image.shape[1], train.text.shape[1])
    rows = _search_rows(train.label, seed)
    searched, label = [view[rows] for view in views], train.label[rows]

    def correlation_sums(shrinkage: float) -> np.ndarray:
        """Return the mean over folds of the sum of the first 1, 2, … correlations."""
        sums = []
        for fit, held in _folds(label, seed).split(rows, label):
            model = RidgeCCA(dim, shrinkage=shrinkage).fit([view[fit] for view in searched])
            first, second = map(scale, model.transform([view[held] for view in searched]))
            sums.append(np.cumsum((first * second).mean(axis=0)))
        # Small folds have fewer components than features.
        count = min(map(len, sums))
        return np.mean([values[:count] for values in sums], axis=0)

    scores = {shrinkage: correlation_sums(shrinkage) for shrinkage in SHRINKAGE}
    best = max(scores, key=lambda shrinkage: scores[shrinkage].max())
    model = RidgeCCA(int(scores[best].argmax()) + 1, shrinkage=best).fit(views)
    image, text = (normalize(x) for x in model.transform(test_views))
    return image, text


CLASSIFIERS: dict[str, Callable[[np.ndarray, np.ndarray, int], Any]] = {
    "logistic_regression": _logistic_regression,
    "rbf_svm": _svm,
    "gradient_boosting": _boosting,
}
REFERENCES = (*CLASSIFIERS, "cca")
