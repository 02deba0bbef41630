"""Methods of the user's own: a Python file that the command line names, and stored embeddings."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from xgacmn_tf import baselines, datasets, experiment
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.representations import unit_length
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.names import model_name
from xgacmn_tf.paper import compare_command as command
from xgacmn_tf.paper import external
from xgacmn_tf.paper.external import read_embeddings
from xgacmn_tf.runs import checkpoint
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.settings.config import Config

GUIDE = Path(__file__).parents[2] / "docs" / "own_methods.md"


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    """The example of the guide."""
    guide = GUIDE.read_text(encoding="utf-8")
    (code,) = re.findall(r'```python title="pls.py"\n(.*?)```', guide, re.DOTALL)
    path = tmp_path_factory.mktemp("methods") / "pls.py"
    path.write_text(code)
    return f"{path}:SYSTEM"


def test_the_docstring_has_the_example_of_the_guide(method):
    code = Path(method.removesuffix(":SYSTEM")).read_text()
    lines = [line.strip() for line in code.splitlines()[1:] if line.strip()]
    docstring = [line.strip() for line in (baselines.System.__doc__ or "").splitlines()]
    start = docstring.index("import dataclasses")
    assert [line for line in docstring[start:] if line][: len(lines)] == lines


@pytest.fixture(scope="module")
def run(method, feature_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    config = Config.of(model=method, dataset=str(feature_file), output_dir=str(folder))
    return folder, config, experiment.run(config)


def test_a_run_of_an_own_method(run, method):
    folder, config, metrics = run
    assert metrics["model"] == method and metrics["headline_similarity"] == "cosine"
    assert metrics["test"]["cosine"]["mAP"]["avg"] > metrics["chance"]["mAP"]["avg"]
    assert (folder / "models" / "pls_SYSTEM" / "1" / "saved_model.pb").is_file()
    assert json.loads((folder / "config.json").read_text())["settings"]["model"] == method
    # Its layers are the package's, so that any command can open the run.
    assert TrainedRun(folder).dims == {"image": 8, "text": 5}
    assert model_name("a b/c.d.py:X") == "c_d_X" and model_name("cca") == "cca"


def test_a_run_folder_alone_never_executes_a_file(run, call_main, tmp_path):
    folder, _, _ = run
    record = json.loads((folder / "config.json").read_text())
    (tmp_path / "bad.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    record["settings"]["model"] = f"{tmp_path / 'bad.py'}:SYSTEM"
    other = tmp_path / "run"
    (other / "checkpoints").mkdir(parents=True)
    (other / "config.json").write_text(json.dumps(record))
    best = other / "checkpoints" / "best.keras"
    best.write_bytes((folder / "checkpoints" / "best.keras").read_bytes())
    process = call_main("--evaluate_only", f"--checkpoint={best}")
    assert process.returncode == 2 and not (tmp_path / "executed").exists()
    assert "is of a method of your own; add --model=" in process.stderr
    assert process.stderr.count("\n") == 1


def test_the_same_model_evaluates_its_checkpoint(run, method, call_main):
    best = run[0] / "checkpoints" / "best.keras"
    process = call_main("--evaluate_only", f"--checkpoint={best}", f"--model={method}")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "there is no file"),
        ("1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
        ("SYSTEM = 3", "has no System called SYSTEM"),
        ("from xgacmn_tf.baselines import System\n"
         "SYSTEM = System('x', 'y', 'exact', 'l2', int, print)", "its similarity is 'l2'"),
        ("from xgacmn_tf.baselines import System\n"
         "SYSTEM = System('x', 'y', 'exact', 'dot', int, print)", "are not a dataclass"),
    ],
)  # fmt: skip
def test_files_without_a_system_are_one_clear_error(code, message, tmp_path):
    path = tmp_path / "own.py"
    if code is not None:
        path.write_text(code)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        baselines.system(f"{path}:SYSTEM")
    assert "\n" not in str(error.value)


def test_unknown_models_are_one_clear_error():
    with pytest.raises(InputError, match="--model=svm: expected xgacmn, cca, .*path/to/file.py"):
        Config.of(model="svm")


def test_a_layer_that_was_not_imported_is_one_clear_error(tmp_path, monkeypatch):
    def load_model(*arguments, **options):
        raise TypeError("Could not locate class 'Mine'. Make sure\nit is registered")

    monkeypatch.setattr(checkpoint.keras.saving, "load_model", load_model)
    (tmp_path / "best.keras").touch()
    with pytest.raises(InputError, match="holds a layer Mine that this package does not") as error:
        checkpoint.load_encoder(tmp_path / "best.keras")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def embeddings(run):
    """The embeddings and ids of a run's test split."""
    with np.load(run[0] / "embeddings.npz") as arrays:
        return {name: arrays[name] for name in ("image", "text", "id")}


def test_embeddings_have_the_scores_of_their_run(
    run, method, embeddings, feature_file, tmp_path, call, without_workers
):
    order = np.random.default_rng(0).permutation(len(embeddings["id"]))
    shuffled = {name: values[order] for name, values in embeddings.items()}
    np.savez(tmp_path / "a.npz", **shuffled, name="Mine")
    in_order = {name: embeddings[name] for name in ("image", "text")}
    np.savez(tmp_path / "b.npz", **in_order, name="Mine")
    noise = np.random.default_rng(1).normal(size=embeddings["image"].shape)
    np.savez(tmp_path / "noise.npz", image=noise, text=noise[::-1], similarity="dot")
    with without_workers():
        process = call(
            command.main, f"--models={method}", f"--datasets={feature_file}", "--seeds=1",
            f"--score={tmp_path / 'a.npz'},{tmp_path / 'b.npz'},{tmp_path / 'noise.npz'}",
            f"--output_dir={tmp_path}", "--jobs=1",
        )  # fmt: skip
    assert process.returncode == 0, process.stderr
    with open(tmp_path / "pairs.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["PLS", "Mine", "noise"]
    for column in ("i2t", "t2i", "R@10", "coverage@10"):
        assert float(rows["Mine"][column]) == pytest.approx(float(rows["PLS"][column]))
    assert (rows["Mine"]["seeds"], rows["noise"]["similarity"]) == ("2", "dot")
    assert float(rows["noise"]["p"]) < 0.05 and rows["noise"]["seconds"] == ""
    table = (tmp_path / "pairs.md").read_text()
    assert "Embeddings made elsewhere: Mine, noise." in table
    assert "Fewer seeds: PLS 1, noise 1." in table
    assert (tmp_path / "runs" / "pairs" / "pls_SYSTEM" / "seed_0" / "metrics.json").exists()


def test_files_of_one_name_are_scored_on_the_test_split_of_their_seed(
    embeddings, feature_file, tmp_path, monkeypatch
):
    whole = datasets.load(str(feature_file))

    def half(seed):
        rows = np.arange(seed, len(whole.test), 2)
        return dataclasses.replace(whole, test=whole.test.take(rows)), rows

    monkeypatch.setattr(external.datasets, "for_config", lambda config: half(config.seed)[0])
    order = [list(embeddings["id"]).index(name) for name in whole.test.id]
    paths, expected = [], []
    for seed in (0, 1):
        dataset, rows = half(seed)
        image, text = (embeddings[name][order][rows] for name in ("image", "text"))
        paths.append(str(tmp_path / f"{seed}.npz"))
        np.savez(paths[-1], image=image, text=text, name="Mine")
        expected.append(
            mean_average_precision(*map(unit_length, (image, text)), dataset.test.label)
        )
    (row,) = external.score_files(paths, Config.of(dataset=str(feature_file)))
    assert expected[0]["avg"] != expected[1]["avg"]
    assert row.scores["avg"] == pytest.approx([scores["avg"] for scores in expected])
    assert {name.partition("/")[2] for name in row.queries} == set(whole.test.id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "expected the arrays image and text"),
        ({"text": np.ones((30, 3))}, "expected the same shape"),
        ({"image": np.ones(30)}, "image has shape (30,)"),
        ({"image": np.full((30, 2), np.nan)}, "image holds values that are not finite"),
        ({"similarity": "l2"}, "similarity is 'l2'; expected cosine or dot"),
        ({"id": np.array(["a"] * 30)}, "id holds a value more than once"),
        ({"id": np.arange(30).astype(str)}, "id lacks 30 of 30 pairs of the test split"),
        ({"id": np.arange(3)}, "id has shape (3,); expected (30,)"),
        ({"id": None, "image": np.ones((9, 2)), "text": np.ones((9, 2))}, "holds 9 pairs and the"),
    ],
)
def test_bad_embeddings_are_one_clear_error(changes, message, tmp_path, feature_file):
    ids = datasets.load(str(feature_file)).test.id
    arrays = {"image": np.ones((30, 2)), "text": np.ones((30, 2)), "id": ids, **changes}
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_embeddings(path, lambda name: ids)
    assert str(error.value).startswith(f"--score={path}") and "\n" not in str(error.value)


def test_scores_need_one_data_set_and_one_similarity(call, feature_file, tmp_path):
    process = call(command.main, "--score=a.npz", "--models=", "--datasets=emoji,openclipart")
    assert process.stderr == (
        "error: --datasets=emoji,openclipart: --score needs one, that of its embeddings\n"
    )
    values = np.eye(30)
    for similarity in ("cosine", "dot"):
        np.savez(
            tmp_path / f"{similarity}.npz", image=values, text=values, similarity=similarity,
            name="x",
        )  # fmt: skip
    process = call(
        command.main, "--models=", f"--datasets={feature_file}", f"--output_dir={tmp_path}",
        f"--score={tmp_path / 'cosine.npz'},{tmp_path / 'dot.npz'}",
    )  # fmt: skip
    assert "ranks by dot, and another file of the name x by cosine" in process.stderr
