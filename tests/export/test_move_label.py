"""export/move_label.py: promotes and rolls back, keeps the file's comments."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve import config_files

HERE = Path(__file__).parent
EXPORT = HERE.parents[1] / "export"
sys.path += [str(HERE.parent / "serve"), str(EXPORT)]
client, move_label, running = map(importlib.import_module, ("client", "move_label", "running"))
SHIPPED = (EXPORT / "serving" / "models.config").read_text()


def test_only_one_number_changes():
    moved = move_label.relabelled(SHIPPED, "xgacmn", "canary", 12)
    assert moved == SHIPPED.replace('"canary" value: 1 ', '"canary" value: 12 ')
    assert move_label.relabelled(moved, "xgacmn", "canary", 1) == SHIPPED


def test_the_right_model_of_several():
    one = 'config {{ name: "{}" version_labels {{ key: "stable"\nvalue: 1 }} }}'
    text = f"model_config_list {{ {one.format('a')} {one.format('b')} }}"
    moved = move_label.relabelled(text, "b", "stable", 2)
    assert moved == re.sub(r"(.*)value: 1", r"\1value: 2", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    "text, message",
    [
        ("nonsense", "not a ModelServerConfig"),
        ('model_config_list { config { name: "other" } }', "has no label stable; add a line"),
        (SHIPPED.replace("stable", "old"), 'version_labels { key: "stable" value: 2 }'),
        (SHIPPED.replace('key: "stable" value: 1', 'value: 1 key: "stable"'), "to edit"),
    ],
)
def test_files_that_will_not_do(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        move_label.relabelled(text, "xgacmn", "stable", 2)


def save_model(folder, factor):
    module = tf.Module()
    module.multiply = tf.function(
        lambda x: {"y": factor * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")]
    )
    signatures = {"serving_default": module.multiply.get_concrete_function()}
    tf.saved_model.save(module, str(folder), signatures)


def test_promote_and_roll_back(tmp_path, capsys):
    base = tmp_path / "models" / "xgacmn"
    for version in (1, 2):
        save_model(base / str(version), float(version))
    config = tmp_path / "models.config"
    config.write_text(SHIPPED.replace("/models/xgacmn", str(base)))
    flags = [f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true"]
    with (
        running.running_server(*flags) as server,
        client.GrpcClient(server.grpc_address) as served,
    ):

        def move(label):
            return move_label.main(
                [label, f"--address={server.grpc_address}", f"--config={config}"]
            )

        def check(stable, canary):
            for label, version in (("stable", stable), ("canary", canary)):
                assert served.predict({"x": [1.0]}, label=label)["y"] == [version]
            # And so after a restart.
            (model,) = config_files.read_models(config).values()
            assert model.labels == {"stable": stable, "canary": canary}

        check(stable=1, canary=1)
        assert move("canary=2") == 0
        assert capsys.readouterr().out == "xgacmn: canary is version 2\n"
        check(stable=1, canary=2)
        assert move("stable=2") == 0
        check(stable=2, canary=2)
        assert move("stable=1") == 0
        check(stable=1, canary=2)
        assert move("stable=3") == 2
        message = "error: version 3 of xgacmn is not loaded; loaded are [2, 1]\n"
        assert capsys.readouterr().err == message
        check(stable=1, canary=2)


def test_command_says_what_is_wrong(tmp_path, capsys):
    assert move_label.main(["stable=2", f"--config={tmp_path / 'none'}"]) == 2
    assert "none: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        move_label.main(["stable"])
    assert "'stable' is not LABEL=VERSION, such as stable=2" in capsys.readouterr().err
