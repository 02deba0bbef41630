"""Mistakes in names: one line that names the nearest, before TensorFlow is loaded."""

import json
import subprocess
import sys

import pytest

from xgacmn_tf.commands import console

# Runs each command line of the list in its argument, and prints its status and errors as JSON.
PROGRAM = """
import contextlib, io, json, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "keras"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Forbidden())
from xgacmn_tf.commands import console

results = []
for arguments in json.loads(sys.argv[1]):
    status, errors = 0, io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            console.main(["xgacmn", *arguments])
        except SystemExit as end:
            status = end.code
    results.append([status, errors.getvalue()])
print(json.dumps(results))
"""
# Command line → the end of its only line.
MISTAKES = {
    "train --lr=0.1": "did you mean --generator_learning_rate, --discriminator_learning_rate or "
    "--item_learning_rate? See --helpfull",
    "train --learning-rate=0.1": "--item_learning_rate? See --helpfull",
    "train --epoch=3": "did you mean --epochs, --choose_epoch or --item_epochs? See --helpfull",
    "train --batchsize=3": "did you mean --batch_size? See --helpfull",
    "train --data=features.npz": "did you mean --dataset or --data_dir? See --helpfull",
    "evaluate --runs=a": "did you mean --run? See --helpfull",
    "search --top_k=3 apple": "did you mean --k? See --help",
    "serve --k=3": "did you mean --max_k? See --helpfull",
    "compare --data=emoji": "did you mean --datasets or --data_dir? See --help",
    "features --batchsize=3": "did you mean --batch_size? See --helpfull",
    "train --dataset=nuswid": "unknown data set 'nuswid'; did you mean nuswide?",
    "train --dataset=open_clip_art": "did you mean openclipart?",
    "train --protocol=without_group_word": "did you mean without_group_words?",
    "train --dataset=folder --image_features=vgg --text_features=bow": "did you mean vgg19?",
    "train --dataset=pairs.csv --image_features=sift --text_features=mini": "did you mean minilm?",
    "train --dataset=wikipedia --image_features=efficientnet": "did you mean efficientnet_lite0, "
    "efficientnet_lite1 or efficientnet_lite2?",
    "train --text_features=word": "comes with minilm and bow; name one of them",
    "train --model=kernel": "did you mean kernel_posteriors?",
    "train --model=CCA": "did you mean cca?",
    "train --similarity=cos": "did you mean cosine?",
    "train --flagfile=openclip": "did you mean openclipart?",
    "compare --models=xgcamn,cca": "did you mean xgacmn?",
    "compare --models=cca --datasets=emojis": "unknown data set 'emojis'; did you mean emoji?",
    "reproduce --models=super_con": "did you mean supcon?",
    "search --run=none --similarity=items apple": "did you mean item?",
    "search --run=none apple": "name the folder of one, as `xgacmn train` prints it",
    "export --run=none --output=models --format=saved_model": "did you mean savedmodel?",
    "export --run=none --output=models": "name the folder of one, as `xgacmn train` prints it",
    "gallery --run=none photos -o items.npz": "name the folder of one, as `xgacmn train` prints it",
    "evaluate --run=none": "name the folder of a run",
    "features --dataset=pairs.csv --image=vgg --text=bow --output=a.npz": "did you mean vgg19?",
    "tarin": "did you mean train?",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Command line → status and errors, all of one process that may not load TensorFlow."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "folder").mkdir()
    lines = json.dumps([line.split() for line in MISTAKES])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, lines],
        capture_output=True, text=True, timeout=300, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_wrong_name_ends_in_one_line_without_tensorflow(results, line):
    status, errors = results[line]
    assert status == 2, errors
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert errors.endswith(f"{MISTAKES[line]}\n")


@pytest.mark.parametrize("command", console.COMMANDS)
def test_help_does_not_load_tensorflow(command):
    code = PROGRAM.replace(
        "results.append", "assert status == 0, errors.getvalue(); results.append"
    )
    code += "assert not {'sklearn', 'matplotlib'} & set(sys.modules)"
    lines = json.dumps([[command, "--help"], [command, "--helpfull"]])
    subprocess.run([sys.executable, "-c", code, lines], check=True, timeout=120)
