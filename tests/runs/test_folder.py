"""Run folders of earlier versions: found again, loaded, or rejected in one line."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.log_lines import logged_lines
from xgacmn_tf import datasets, experiment
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.settings.config import Config


@pytest.fixture(scope="module")
def evaluated_once(feature_file, tmp_path_factory):
    """The settings of a finished run with a single evaluation, to be read only."""
    folder = tmp_path_factory.mktemp("evaluated_once") / "run"
    config = Config.of(
        dataset=str(feature_file), output_dir=str(folder), epochs=4, evaluate_every=4,
        choose_epoch="last", encoder_hidden=(8,), code_dim=4, batch_size=16, export=False,
        feature_discriminator_hidden=8, common_discriminator_hidden=4, item_hidden=(8,), item_dim=4,
        validation_fraction=0.2,
    )  # fmt: skip
    experiment.run(config)
    return config


@pytest.fixture
def earlier(evaluated_once, tmp_path):
    """A run folder as before `--choose_epoch`, with a single evaluation, and its settings."""
    shutil.copytree(evaluated_once.output.output_dir, tmp_path / "run")
    now = evaluated_once.replace(output_dir=str(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    for name in ("choose_epoch", "deduplicate_gallery"):
        del record["settings"][name]
    record["settings"]["output_dir"] = now.output.output_dir
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    return RunFolder(tmp_path / "run"), now.replace(choose_epoch="best")


def test_a_finished_run_of_before_a_setting_was_added_is_found_and_loaded(earlier):
    folder, config = earlier
    assert folder.recorded_config() == config.replace(output_dir=str(folder.path))
    with logged_lines() as lines:
        assert experiment.run(config) == folder.read_metrics()
    assert "finished" in lines[0]
    assert len(TrainedRun(folder.path).gallery("test")) == 30


def test_a_run_of_before_posteriors_were_calibrated_names_the_remedy(feature_file, tmp_path):
    """Logistic regression held nothing out then, so its data had another fingerprint."""
    config = Config.of(
        model="sm", dataset=str(feature_file), output_dir=str(tmp_path / "run"), export=False,
        validation_fraction=0.2,
    )  # fmt: skip
    experiment.run(config)
    everything = config.replace(validation_fraction=0.0)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    record["data_fingerprint"] = datasets.for_config(everything).fingerprint
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="by a version that drew other splits; .* train again"):
        TrainedRun(tmp_path / "run").gallery("test")
    with pytest.raises(InputError, match="what is held out"):
        experiment.run(config)


def test_an_unfinished_one_that_evaluates_once_ends_in_one_line(earlier):
    folder, config = earlier
    folder.metrics.unlink()
    with pytest.raises(InputError, match="--choose_epoch=last to train exactly 4 epochs$") as error:
        experiment.run(config)
    assert "\n" not in str(error.value)


def test_a_setting_that_was_added_later_is_compared_where_it_is_not_at_its_default(earlier):
    folder, config = earlier
    with pytest.raises(InputError, match="choose_epoch 'best' there, 'last' now"):
        experiment.run(config.replace(choose_epoch="last"))


def test_a_folder_that_another_process_writes_into_ends_in_one_line(tmp_path):
    held = tmp_path / "run"
    held.mkdir()
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from xgacmn_tf.io.file_lock import locked\n"
        "with locked(Path(sys.argv[1])) as free:\n"
        "    print(free, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, held / ".lock"], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "True\n"
        with (
            pytest.raises(InputError, match="another process is writing into this folder") as error,
            RunFolder(held).locked(),
        ):
            pass
        assert "\n" not in str(error.value)
        other.kill()
    # The lock of a killed process is free.
    with RunFolder(held).locked():
        pass


def test_the_same_run_twice_at_once_is_trained_once(feature_file, tmp_path, monkeypatch):
    config = Config.of(
        dataset=str(feature_file), output_dir=str(tmp_path / "run"), model="sm", export=False
    )
    train, errors = experiment.train_system, []

    def train_while_another_starts(*arguments):
        monkeypatch.setattr(experiment, "train_system", train)
        with (
            monkeypatch.context() as patch,
            pytest.raises(InputError, match="another process is writing") as error,
        ):
            patch.setattr(datasets, "for_config", lambda config: pytest.fail("the data were read"))
            experiment.run(config)
        errors.append(error)
        return train(*arguments)

    monkeypatch.setattr(experiment, "train_system", train_while_another_starts)
    metrics = experiment.run(config)
    assert errors and RunFolder(tmp_path / "run").read_metrics() == metrics
    with logged_lines() as lines:
        assert experiment.run(config) == metrics
    assert "finished" in lines[0]
