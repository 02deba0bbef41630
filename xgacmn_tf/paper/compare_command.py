"""The command that compares systems on data sets over several seeds.

    python -m xgacmn_tf.compare --models=all --datasets=openclipart --seeds=5
        all systems on the bundled clip art.
    python -m xgacmn_tf.compare --models=cca,acmr,xgacmn --data_dir=DIR
        --datasets=flags/wikipedia_shallow_2173.flags,flags/wikipedia_shallow_1300.flags
        X-GACMN with the settings of a flag file, the others with their defaults.
    python -m xgacmn_tf.compare --datasets=features.npz --tune
        your own features; the settings of each compared system are chosen on validation pairs
        (OUTPUT_DIR/runs/<data set>/<system>/tuned/choice.json lists all that were tried).
    python -m xgacmn_tf.compare --models=cca,methods/pls.py:SYSTEM --score=clip.npz,other.npz
        a method of your own, and embeddings of the test split made elsewhere: docs/own_methods.md.

The tables show mAP and, beside it, measures that tell items apart: R@10 of the own pair, mAP by
fine labels if there are any, and coverage@10. If X-GACMN has item embeddings, "X-GACMN, item" is a
row of its own. To resume an interrupted comparison, repeat the command. Tables:
OUTPUT_DIR/<data set>.md, .tex and .csv.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import check_requirements
from xgacmn_tf.settings.command_line import parse, stop

if TYPE_CHECKING:
    from xgacmn_tf.paper.comparison import Row
    from xgacmn_tf.paper.document import Table
    from xgacmn_tf.paper.experiments import Experiment

VALUES = flags.FlagValues()
flags.DEFINE_list(
    "models", ["all"], "systems, path/to/file.py:NAME of your own, or all", flag_values=VALUES
)
flags.DEFINE_list(
    "datasets",
    ["openclipart"],
    "data sets as --dataset of xgacmn_tf.main takes them, or flag files",
    flag_values=VALUES,
)
flags.DEFINE_list(
    "score",
    [],
    "files of embeddings of the test split that were made elsewhere; several of one name are seeds",
    flag_values=VALUES,
)
flags.DEFINE_integer("seeds", 5, "number of seeds 0, 1, … of each system", 1, flag_values=VALUES)
flags.DEFINE_string("data_dir", None, "folder of the data sets' files", flag_values=VALUES)
flags.DEFINE_string("output_dir", "comparison", "tables and run folders", flag_values=VALUES)
flags.DEFINE_integer("jobs", os.cpu_count() or 1, "number of runs at a time", 1, flag_values=VALUES)
flags.DEFINE_bool(
    "tune",
    False,
    "choose settings of the compared systems on validation pairs first",
    flag_values=VALUES,
)
flags.DEFINE_bool(
    "all_similarities",
    False,
    "a row for each similarity, not only each system's own; systems are ranked and tested within "
    "one similarity",
    flag_values=VALUES,
)


def main(argv: list[str]) -> None:
    """Run the command; a failure ends the program with one line."""
    parse(VALUES, argv, __doc__ or "")
    try:
        check_requirements()
        failures = _compare()
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; repeat the command to resume", status=130)
    if failures:
        stop(f"{failures} runs failed; the tables name them", status=1)


def _compare() -> int:
    """Run the unfinished experiments and write the tables; return the number of failed runs."""
    from xgacmn_tf.paper import comparison, document, experiments, tuning

    output = Path(VALUES.output_dir)
    if VALUES.score and len(VALUES.datasets) != 1:
        raise InputError(
            f"--datasets={','.join(VALUES.datasets)}: --score needs one, that of its embeddings"
        )
    scores_only = VALUES.score and not VALUES.models
    models = () if scores_only else experiments.choose_models(VALUES.models)
    planned = experiments.plan(models, VALUES.datasets, VALUES.seeds, VALUES.data_dir, output)
    scored = _scored_rows()
    failed: dict[Experiment, str] = {}
    if VALUES.tune:
        planned, failed = tuning.tune(planned, VALUES.jobs)
    failed |= experiments.run(planned, VALUES.jobs)
    for specification in VALUES.datasets:
        label = Path(specification).stem
        finished = [e for e in planned if e.label == label and e.folder.is_finished()]
        rows = comparison.rows_of(finished, VALUES.all_similarities) + scored
        if VALUES.all_similarities:
            rows = comparison.group_by_similarity(rows)
        comparison.set_p_values(rows)
        errors = {e.model: error for e, error in failed.items() if e.label == label}
        table = dataset_table(specification, finished, rows, errors)
        texts = {"md": table.markdown() + "\n", "tex": table.latex() + "\n", "csv": table.csv()}
        for suffix, text in texts.items():
            document.write_text(output / f"{label}.{suffix}", text)
        print(f"\n{label}\n\n{texts['md']}")
    return len(failed)


def _scored_rows() -> list[Row]:
    """The rows of --score; a file that cannot be used ends the command before any training."""
    from xgacmn_tf.paper import experiments

    if not VALUES.score:
        return []
    # Imported here, because TensorFlow takes seconds to load.
    from xgacmn_tf.paper.external import score_files

    return score_files(VALUES.score, experiments.settings_of(VALUES.datasets[0], VALUES.data_dir))


def dataset_table(
    specification: str,
    finished: Sequence[Experiment],
    rows: Sequence[Row],
    errors: dict[str, str],
) -> Table:
    """Return the table of one data set.

    Args:
      specification: the data set or flag file.
      finished: its finished experiments.
      rows: its rows, tested.
      errors: system → why some of its runs failed.
    """
    from xgacmn_tf.paper.comparison import ITEM_MEASURES, score_table
    from xgacmn_tf.paper.published import published

    label = dataset = Path(specification).stem
    paper: Mapping[str, tuple[float, float]] = {}
    if finished:
        config = finished[0].config
        dataset = finished[0].folder.read_metrics()["dataset"]
        paper = published(dataset, config.features.image_features, config.features.text_features)
    measures = [name for name in ITEM_MEASURES if any(name in row.item_measures for row in rows)]
    seeds = max((len(row.scores["avg"]) for row in rows), default=0)
    within = " of each similarity; * marks the system's own" if VALUES.all_similarities else ""
    caption = (
        f"Full-gallery mAP on the test split of {dataset}, mean ± sd over {seeds} seeds; best in "
        f"bold, second underlined{within}."
    )
    return score_table(label, caption, rows, paper, measures, _notes(rows, measures, errors))


def _notes(rows: Sequence[Row], measures: Sequence[str], errors: Mapping[str, str]) -> list[str]:
    """The notes below the table of one data set; arguments as above."""
    from xgacmn_tf.paper.comparison import ITEM_MEASURES
    from xgacmn_tf.paper.experiments import title

    notes = [
        "p: paired randomization test against the best row, over pairs (both queries of a pair are "
        "exchanged together), Holm-corrected; the best row was found on the same queries. "
        "fit: median seconds."
    ]
    if measures:
        definitions = "; ".join(f"{n.replace('_', ' ')}: {ITEM_MEASURES[n]}" for n in measures)
        notes.append(f"{definitions} (means of both directions, neither ranked nor tested).")
    if not all(row.is_ranked for row in rows):
        notes.append(
            "X-GACMN, item is beyond the paper: X-GACMN ranked by class posteriors and item "
            "embeddings together; it is neither ranked nor tested."
        )
    if any(row.model is None for row in rows):
        names = dict.fromkeys(row.title for row in rows if row.model is None)
        notes.append(f"Embeddings made elsewhere: {', '.join(names)}.")
    changed = dict.fromkeys(f"{row.title}: {row.settings}" for row in rows if row.settings)
    if changed:
        notes.append(f"Settings: {'; '.join(changed)}.")
    notes += [f"{title(model)}: not every run finished: {error}" for model, error in errors.items()]
    return notes
