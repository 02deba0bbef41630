"""Flag files of the studies that point at small made-up data."""

from pathlib import Path

import pytest

from xgacmn_tf.paper import reproduce_command as command
from xgacmn_tf.paper.figure_plane import ROWS
from xgacmn_tf.paper.studies import STUDIES
from xgacmn_tf.paper.table_ablation import SETTINGS

SMALL = (
    "--epochs=2\n--encoder_hidden=8\n--batch_size=16\n--feature_discriminator_hidden=8\n"
    "--validation_fraction=0.2\n"
)
CHANGES = {
    "wikipedia_shallow_2173": "--distillation=100\n",
    "ablation_without_d_c": "--nodiscriminate_codes\n",
    "ablation_without_d_i_d_t": "--nodiscriminate_features\n",
    "ablation_without_distillation": "--distillation=0\n",
    "ablation_without_a_softmax": "--classifier=none\n--similarity=cosine\n",
    "ablation_without_l2": "--lambda_1=0\n",
    "ablation_with_softmax": "--classifier=softmax\n",
    "figure_4_softmax": "--classifier=softmax\n--lambda_1=0\n",
    "figure_4_softmax_l2": "--classifier=softmax\n",
    "figure_4_a_softmax": "--lambda_1=0\n",
    "figure_4_a_softmax_l2": "",
}


@pytest.fixture(scope="session")
def flags_dir(feature_file, tmp_path_factory) -> Path:
    """All flag files; deep features and other data sets than the made-up one are not there."""
    folder = tmp_path_factory.mktemp("settings") / "flags"
    folder.mkdir()
    planes = [label for row in ROWS.values() for label in row]
    for label in {*SETTINGS, *planes, *(study.label for study in STUDIES)}:
        dim = 2 if label in planes else 4
        text = f"--dataset={feature_file}\n{SMALL}--code_dim={dim}\n{CHANGES.get(label, '')}"
        if "deep" in label:
            text = "--dataset=wikipedia\n--image_features=vgg19\n--text_features=bow\n"
        (folder / f"{label}.flags").write_text(text)
    # One that names another, as the project's do: from the folder above.
    (folder / "ablation_without_l2.flags").write_text(
        "--flagfile=flags/wikipedia_shallow_2173.flags\n--lambda_1=0\n"
    )
    return folder


@pytest.fixture(scope="session")
def reproduce(flags_dir, call, without_workers):
    """Runs the command in this process."""

    def reproduce(*arguments: str):
        with without_workers():
            return call(command.main, f"--flags_dir={flags_dir}", "--jobs=1", *arguments)

    return reproduce
