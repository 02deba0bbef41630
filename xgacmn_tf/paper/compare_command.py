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

import dataclasses
import os
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SYSTEMS, XGACMN
from xgacmn_tf.paper import run_command
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class Comparison(Section):
    """The systems, the data sets and the output."""

    models: tuple[str, ...] = setting(
        ("all",),
        f"all; or {XGACMN}, {', '.join(SYSTEMS)}, and path/to/file.py:NAME of your own",
    )
    datasets: tuple[str, ...] = setting(
        ("openclipart",), "data sets as --dataset of xgacmn_tf.main takes them, or flag files"
    )
    score: tuple[str, ...] = setting(
        (),
        "files of embeddings of the test split that were made elsewhere; several of one name are "
        "seeds",
    )
    seeds: int = setting(5, "number of seeds 0, 1, … of each system", minimum=1)
    data_dir: str | None = setting(None, "folder of the data sets' files")
    output_dir: str = setting("comparison", "tables and run folders")
    jobs: int = setting(os.cpu_count() or 1, "number of runs at a time", minimum=1)
    tune: bool = setting(False, "choose settings of the compared systems on validation pairs first")
    all_similarities: bool = setting(
        False,
        "a row for each similarity, not only each system's own; systems are ranked and tested "
        "within one similarity",
    )


def main(argv: list[str]) -> None:
    """Run the command; a failure ends the program with one line."""
    run_command(argv, Comparison, str(__doc__), compare)


def compare(settings: Comparison) -> int:
    """Run the unfinished experiments and write the tables; return the number of failed runs."""
    # Imported here, because they take seconds to load, above all TensorFlow, which comes last.
    from xgacmn_tf import datasets
    from xgacmn_tf.paper import comparison, document, experiments, tuning

    specifications, output = settings.datasets, Path(settings.output_dir)
    if settings.score and len(specifications) != 1:
        raise InputError(
            f"--datasets={','.join(specifications)}: --score needs one, that of its embeddings"
        )
    scores_only = settings.score and not settings.models
    models = () if scores_only else experiments.choose_models(settings.models)
    planned = experiments.plan(models, specifications, settings.seeds, settings.data_dir, output)
    unfinished = {e.label: e.config for e in planned if not e.folder.is_finished()}
    for config in unfinished.values():
        datasets.check_names(config.data, config.features)
    scored = []
    if settings.score:
        from xgacmn_tf.paper import external

        config = experiments.settings_of(specifications[0], settings.data_dir)
        scored = external.score_files(settings.score, config)
    failed: dict[experiments.Experiment, str] = {}
    if settings.tune:
        planned, failed = tuning.tune(planned, settings.jobs)
    failed |= experiments.run(planned, settings.jobs)
    for specification in specifications:
        label = Path(specification).stem
        finished = [e for e in planned if e.label == label and e.folder.is_finished()]
        rows = comparison.rows_of(finished, settings.all_similarities) + scored
        if settings.all_similarities:
            rows = comparison.group_by_similarity(rows)
        comparison.set_p_values(rows)
        errors = {e.model: error for e, error in failed.items() if e.label == label}
        table = comparison.dataset_table(
            specification, finished, rows, errors, settings.all_similarities
        )
        texts = {"md": table.markdown() + "\n", "tex": table.latex() + "\n", "csv": table.csv()}
        for suffix, text in texts.items():
            document.write_text(output / f"{label}.{suffix}", text)
        print(f"\n{label}\n\n{texts['md']}")
    return len(failed)
