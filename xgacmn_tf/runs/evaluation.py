"""Evaluation of trained encoders on the test split of a run's data set."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np

from xgacmn_tf import baselines
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.datasets.report import DataReport
from xgacmn_tf.evaluation.categories import category_table, unseen_categories
from xgacmn_tf.evaluation.fine_labels import fine_targets
from xgacmn_tf.evaluation.first_results import FirstResults, first_results, spread_measures
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.measures import split_identity
from xgacmn_tf.evaluation.representations import Representations, represent
from xgacmn_tf.evaluation.retrieval import (
    RetrievalResult,
    chance_levels,
    evaluate_retrieval,
    mean_average_precision,
)
from xgacmn_tf.model.encoders import CommonSpaceEncoder, search_similarity
from xgacmn_tf.names import MODALITIES, XGACMN
from xgacmn_tf.runs.provenance import git_commit, versions
from xgacmn_tf.settings.config import Config


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results on the test split.

    Attributes:
      metrics: the content of metrics.json.
      arrays: the content of embeddings.npz.
      per_query: the content of per_query.npz.
      represented: the images and the texts as searches compare them.
      identity: which items count as one another's own pair.
    """

    metrics: dict[str, Any]
    arrays: dict[str, np.ndarray]
    per_query: dict[str, np.ndarray]
    represented: tuple[Representations, Representations]
    identity: Identity


@dataclasses.dataclass(frozen=True)
class _Scored:
    """The test split at one similarity."""

    sides: tuple[Representations, Representations]
    result: RetrievalResult
    first: dict[str, FirstResults]


def evaluate_run(
    encoder: CommonSpaceEncoder, dataset: PairedDataset, config: Config, report: DataReport
) -> Evaluation:
    """Evaluate the test split at every similarity that the encoder defines.

    Args:
      encoder: trained encoders.
      dataset: the data set that `config` names.
      config: the settings of the run.
      report: the report on the data set.
    """
    test, identity = dataset.test, split_identity(dataset)
    fine = fine_targets(test.fine_label, test.label, dataset.label_names)
    encodings = {m: encoder.encodings_of(m, getattr(test, m)).numpy() for m in MODALITIES}
    scored = {
        similarity: _score(encoder, encodings, similarity, dataset, identity, config, fine)
        for similarity in encoder.similarities()
    }
    own = None
    if config.system.model != XGACMN:
        own = baselines.system(config.system.model).similarity
    headline = config.headline(own)
    # A checkpoint without its run's settings may lack the similarity that is the default.
    headline = headline if headline in scored else next(iter(scored))
    searched = search_similarity(encoder, headline)
    per_query = {
        f"{similarity}_{way}": scores["AP"]
        for similarity, each in scored.items()
        for way, scores in each.result.per_query.items()
    }
    if config.evaluation.deduplicate_gallery:
        per_query["id_i2t"] = test.id[scored[headline].result.per_query["i2t"]["pair"]]
    metrics = _metrics(dataset, config, report, identity, fine, scored, headline)
    metrics["search_similarity"] = searched
    arrays = _arrays(encoder, encodings, scored, searched)
    arrays |= {"label": test.label, "id": test.id}
    return Evaluation(metrics, arrays, per_query, scored[searched].sides, identity)


def _score(
    encoder: CommonSpaceEncoder,
    encodings: dict[str, np.ndarray],
    similarity: str,
    dataset: PairedDataset,
    identity: Identity,
    config: Config,
    fine: dict[str, tuple[np.ndarray, np.ndarray]],
) -> _Scored:
    image, text = (represent(encoder, encodings[m], similarity, m) for m in MODALITIES)
    deduplicated = config.evaluation.deduplicate_gallery
    result = evaluate_retrieval(
        image,
        text,
        dataset.test.label,
        identity=identity,
        deduplicated=deduplicated,
        title=f"evaluation by {similarity}",
    )
    for measure, (rows, labels) in fine.items():
        scores = mean_average_precision(image.take(rows), text.take(rows), labels)
        result.measures[measure] = scores
    first = first_results(image, text, identity, deduplicated)
    result.measures.update(spread_measures(first))
    return _Scored((image, text), result, first)


def _arrays(
    encoder: CommonSpaceEncoder,
    encodings: dict[str, np.ndarray],
    scored: dict[str, _Scored],
    searched: str,
) -> dict[str, np.ndarray]:
    """Return the embeddings by their names in embeddings.npz, without those held in blocks."""
    arrays = {m: encodings[m][:, : encoder.code_dim] for m in MODALITIES}
    if "posterior" in scored:
        arrays |= {f"calibration_{m}": np.array(encoder.calibration[m]) for m in MODALITIES}
    for similarity, name in (("posterior", "{}_posterior"), (searched, "search_{}")):
        if similarity in scored:
            arrays |= {
                name.format(side.name): side[:].astype(np.float32)
                for side in scored[similarity].sides
                if side.is_whole
            }
    return arrays


def _metrics(
    dataset: PairedDataset,
    config: Config,
    report: DataReport,
    identity: Identity,
    fine: dict[str, tuple[np.ndarray, np.ndarray]],
    scored: dict[str, _Scored],
    headline: str,
) -> dict[str, Any]:
    test, deduplicated = dataset.test, config.evaluation.deduplicate_gallery
    precision = {
        similarity: {way: scores["AP"] for way, scores in each.result.per_query.items()}
        for similarity, each in scored.items()
    }
    chance = chance_levels(
        test.label, identity=identity, deduplicated=deduplicated, title="chance levels"
    )
    chance |= {measure: chance_levels(labels)["mAP"] for measure, (_, labels) in fine.items()}
    about = (dataset.label_names, dataset.trained_pairs, test.label)
    unseen = unseen_categories(*about, precision, identity, deduplicated)
    table = category_table(
        *about, scored[headline].first, precision[headline], identity, deduplicated
    )
    return {
        "model": config.system.model,
        "dataset": dataset.name,
        "label_names": [*dataset.label_names],
        "date": datetime.date.today().isoformat(),
        "test": {similarity: each.result.measures for similarity, each in scored.items()},
        "chance": chance,
        # Each image and each text is a query; i2t has the images as queries, t2i the texts.
        "queries": {way: len(values) for way, values in precision[headline].items()},
        "deduplicated_gallery": deduplicated,
        "headline_similarity": headline,
        "normalizer": {"mAP": "relevant", "mAP@50": "hits", "mAP@50/min": "min"},
        "queries_without_relevant": scored[headline].result.queries_without_relevant,
        "seed": config.seed,
        "splits": {"train": 0, "validation": 0}
        | {name: len(split) for name, split in dataset.splits()},
        "groups": {part: len(np.unique(groups)) for part, groups in dataset.groups.items()},
        "data_report": report.as_dict(),
        "warnings": [*report.warnings],
        "categories": table,
        "data_fingerprint": dataset.fingerprint,
        "settings": config.result_settings(),
        "versions": versions(),
        "git_commit": git_commit(),
        **({"unseen_categories": unseen} if unseen else {}),
    }
