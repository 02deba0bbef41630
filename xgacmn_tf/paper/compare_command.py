"""Compares systems: every one on every data set with every seed, and one table a data set.

    python -m xgacmn_tf.compare --models=all --datasets=openclipart --seeds=5
        on the bundled clip art.
    python -m xgacmn_tf.compare --models=cca,acmr,xgacmn --data_dir=DIR
        --datasets=flags/wikipedia_shallow_2173.flags,flags/wikipedia_shallow_1300.flags
        X-GACMN with the settings of a flag file, the others with their own.
    python -m xgacmn_tf.compare --datasets=features.npz --tune
        on your own features, each compared system with the settings that are best on validation
        pairs (OUTPUT_DIR/runs/<data set>/<system>/tuned/choice.json has all that were tried).

The tables show mAP and, beside it, what tells items apart: R@10 of the own pair, mAP by fine labels
where there are any, and coverage@10. Where X-GACMN has item embeddings, "X-GACMN, item" is a row of
its own. To resume an interrupted comparison, repeat the command. Tables: OUTPUT_DIR/<data set>.md,
.tex and .csv.
"""

import os
import sys
from pathlib import Path

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import parse, stop

VALUES = flags.FlagValues()
flags.DEFINE_list("models", ["all"], "systems, or all", flag_values=VALUES)
flags.DEFINE_list(
    "datasets",
    ["openclipart"],
    "data sets as --dataset of xgacmn_tf.main takes them, or flag files",
    flag_values=VALUES,
)
flags.DEFINE_integer("seeds", 5, "seeds 0, 1, … of each cell", 1, flag_values=VALUES)
flags.DEFINE_string("data_dir", None, "folder of the data sets' files", flag_values=VALUES)
flags.DEFINE_string("output_dir", "comparison", "tables and run folders", flag_values=VALUES)
flags.DEFINE_integer(
    "jobs", os.cpu_count() or 1, "runs at a time, which share the cores", 1, flag_values=VALUES
)
flags.DEFINE_bool(
    "tune",
    False,
    "choose settings of the compared systems on validation pairs first",
    flag_values=VALUES,
)
flags.DEFINE_bool(
    "all_similarities",
    False,
    "a row for every similarity, not each system's own; systems are ranked and tested within one",
    flag_values=VALUES,
)


def main(argv: list[str]) -> None:
    parse(VALUES, argv, __doc__)
    try:
        failures = _compare()
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on with the runs that are left", status=130)
    if failures:
        stop(f"{failures} runs failed; the tables name them", status=1)


def _compare() -> int:
    """Runs what is open and writes the tables; returns how many runs failed."""
    from xgacmn_tf.paper import tuning, experiments, tables
    from xgacmn_tf.paper.published import published

    output = Path(VALUES.output_dir)
    models = experiments.choose_models(VALUES.models)
    todo = experiments.cells(models, VALUES.datasets, VALUES.seeds, VALUES.data_dir, output)
    failed: dict[experiments.Experiment, str] = {}
    if VALUES.tune:
        todo, failed = tuning.tuned(todo, VALUES.jobs)
    labels = dict.fromkeys(cell.label for cell in (*todo, *failed))
    failed |= experiments.run(todo, VALUES.jobs)
    for label in labels:
        cells = [cell for cell in todo if cell.label == label]
        found = tables.rows(cells, VALUES.all_similarities)
        reasons = {c.config.model: reason for c, reason in failed.items() if c.label == label}
        finished = [cell for cell in cells if cell.folder.is_finished()]
        dataset, paper = label, published(label, None, None)
        if finished:
            config = finished[0].config
            dataset = finished[0].folder.read_metrics()["dataset"]
            paper = published(dataset, config.image_features, config.text_features)
        print(f"\n{label}\n")
        print(tables.write_tables(output, label, dataset, found, reasons, paper))
    return len(failed)


if __name__ == "__main__":
    main(sys.argv)
