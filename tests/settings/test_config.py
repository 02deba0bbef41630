"""Settings: ranges, flags made from fields, fingerprints, flag files."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xgacmn_tf.commands.train import EvaluationOnly
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.item_towers import TowerSettings
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves

ROOT = Path(__file__).parents[2]
FLAG_FILES = sorted((ROOT / "flags").glob("*.flags"))


def test_defaults_are_the_papers_but_for_the_width_of_d_i_and_d_t():
    config = Config()
    assert config.model.encoder_hidden == (512, 100) and config.model.code_dim == 100
    assert (
        config.model.feature_discriminator_hidden,
        config.model.common_discriminator_hidden,
    ) == (500, 50)
    assert (config.training.batch_size, config.model.margin) == (64, 5)
    assert (config.model.lambda_1, config.model.lambda_2, config.model.lambda_3) == (10, 5, 100)


def test_no_flags_give_the_defaults(parse):
    assert parse() == Config()


def test_every_field_can_be_set_by_its_flag(parse):
    config = parse(
        "--dataset=wikipedia", "--epochs=3", "--lambda_1=2", "--encoder_hidden=64,32",
        "--nodiscriminate_codes", "--similarity=dot", "--output_dir=somewhere",
    )  # fmt: skip
    expected = Config.of(
        dataset="wikipedia", epochs=3, lambda_1=2.0, encoder_hidden=(64, 32),
        discriminate_codes=False, similarity="dot", output_dir="somewhere",
    )  # fmt: skip
    assert config == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "--epochs=0: expected at least 1"),
        ({"epochs": 2.5}, "--epochs=2.5: expected int, received 2.5"),
        ({"epochs": True}, "--epochs=True: expected int"),
        ({"batch_size": None}, "--batch_size=None: expected int"),
        ({"text_dropout": 1.0}, "--text_dropout=1.0: expected at most 0.95"),
        ({"validation_fraction": 0.7}, "--validation_fraction=0.7: expected at most 0.5"),
        ({"lambda_3": float("nan")}, "--lambda_3=nan: expected a finite number"),
        ({"lambda_3": -1.0}, "--lambda_3=-1.0: expected at least 0"),
        ({"generator_learning_rate": 0.0}, "--generator_learning_rate=0.0: expected at least"),
        ({"classifier": "svm"}, "--classifier=svm: expected one of angular, softmax, none"),
        ({"encoder_hidden": ()}, r"--encoder_hidden=: expected one or more numbers"),
        ({"encoder_hidden": (5, 0)}, r"--encoder_hidden=5,0: expected at least 1"),
        (
            {"classifier": "none", "similarity": "posterior"},
            "--similarity=posterior needs class posteriors",
        ),
        (
            {"classifier": "none", "distillation": 100.0},
            "--distillation=100 needs class posteriors, and --classifier=none learns none",
        ),
        (
            {"choose_epoch": "last", "patience": 5},
            "--patience=5 stops a training early, and --choose_epoch=last trains all epochs",
        ),
        ({"model": "cca", "margin": 3}, "--margin=3 is a setting of X-GACMN that --model=cca"),
        ({"model_settings": ("a=1",)}, "--model_settings=a=1: X-GACMN's settings are flags"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Config.of(**setting)


def test_the_headline_is_the_models_own_unless_named():
    assert Config().headline() == "posterior"
    assert Config.of(classifier="none").headline() == "cosine"
    assert Config.of(model="cca").headline("cosine") == "cosine"
    assert Config.of(model="cca", similarity="dot").headline("cosine") == "dot"


def test_compared_systems_have_a_fingerprint_of_their_own_settings():
    cca = Config.of(model="cca")
    assert cca.fingerprint() != Config().fingerprint()
    assert (
        Config.of(model="cca", model_settings=("components=3",)).fingerprint() != cca.fingerprint()
    )
    assert "margin" not in cca.result_settings() and "seed" in cca.result_settings()
    # What neither chooses an epoch nor has posteriors learns from the whole training split.
    held_out = {name: Config.of(model=name).held_out for name in ("cca", "supcon", "sm", "acmr")}
    assert held_out == {"cca": 0, "supcon": None, "sm": None, "acmr": None}
    assert Config().held_out is None


def test_columns_change_the_fingerprint_only_where_they_are_given(parse):
    config = parse("--columns=image_train=I_tr,text_train=T_tr")
    assert config.data.columns == ("image_train=I_tr", "text_train=T_tr")
    assert config.fingerprint() != Config().fingerprint()


def test_list_flag_takes_numbers_only(parse):
    with pytest.raises(InputError, match="--encoder_hidden=512,x: expected whole numbers"):
        parse("--encoder_hidden=512,x")


def test_fingerprint_follows_what_shapes_results_alone():
    fingerprint = Config().fingerprint()
    assert re.fullmatch("[0-9a-f]{8}", fingerprint)
    assert Config.of(output_dir="elsewhere", histograms=True).fingerprint() == fingerprint
    assert Config.of(seed=1).fingerprint() != fingerprint
    assert Config.of(epochs=25).fingerprint() != fingerprint
    assert Config.of(lambda_3=100).fingerprint() == fingerprint  # 100 is 100.0


def test_fingerprint_of_before_a_setting_was_added_still_holds():
    """Runs find their folder by it; the digits are those of commit 6284ab4."""
    fraction = {"dataset": "openclipart", "validation_fraction": 0.2}
    former = {"map_choice": "rule", "generator_learning_rate": 3e-4, "label_smoothing": 0.0}
    former |= {"feature_discriminator_hidden": 2000}
    plain = Config.of(**fraction, item_embedding=False, **former)
    assert plain.fingerprint() == "913d1347"
    cca = Config.of(**fraction, model="cca", seed=3)
    assert cca.fingerprint() == "282e50d1"
    later = [leaf.name for leaf in leaves(Config) if leaf.metadata["later"]]
    assert [name for name in later if not name.startswith("item_")] == [
        "columns",
        "label_separator",
        *("map_choice", "rbf_gamma", "rbf_components", "label_smoothing"),
        "choose_epoch",
        *("init", "pseudo_labels", "pseudo_label_confidence"),
        "deduplicate_gallery",
    ]
    assert Config.of(choose_epoch="last").fingerprint() != Config().fingerprint()
    assert Config.of(deduplicate_gallery=True).fingerprint() != Config().fingerprint()


def test_figure_4_evaluates_every_epoch_and_wikipedia_trains_the_epochs_it_names(parse):
    for path in FLAG_FILES:
        config = parse(f"--flagfile={path}")
        assert config.training.evaluate_every == 1, path.name
        fixed = path.name.startswith(("wikipedia_shallow", "ablation"))
        assert config.training.choose_epoch == ("last" if fixed else "best"), path.name


def test_settings_are_read_by_the_code():
    """No dead switch: every field is used somewhere besides its definition."""
    package = ROOT / "xgacmn_tf"
    names = ("config.py", "sections.py", "xgacmn_sections.py")
    definitions = [package / "settings" / name for name in names]
    paths = set(package.rglob("*.py")) - set(definitions)
    code = "".join(path.read_text() for path in paths)
    config_code = "".join(path.read_text() for path in definitions)
    arguments = {
        "model": set(inspect.signature(XGACMN.__init__).parameters),
        "items": {f"item_{field.name}" for field in dataclasses.fields(TowerSettings)},
    }
    for leaf in leaves(Config):
        section = f"{leaf.section}." if leaf.section else ""
        # Some are read for either modality, and some through a property of `Config`. Those of the
        # input maps are shared with compared systems and read from either's settings.
        stem = re.sub("^(image|text)_", "", leaf.name)
        names = (f"{section}{leaf.name}", f'_{stem}"', f"settings.{leaf.name}")
        # Those that are arguments of the model or of item towers are passed by their names.
        passed = leaf.name in arguments.get(leaf.section, ())
        used = passed or any(name in code for name in names)
        assert (
            used
            or f"self.{section}{leaf.name}" in config_code
            or (f"self.{leaf.name}" in config_code)
        ), leaf.name


def test_there_are_flag_files():
    assert len(FLAG_FILES) >= 3


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.name)
def test_flag_file_parses_and_says_what_to_expect(parse, path):
    config = parse(f"--flagfile={path}")
    assert config != Config()
    header = path.read_text().split("\n--")[0]
    for part in ("Command:", "Expected:", "Time:"):
        assert part in header, f"{path.name} does not say {part}"


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "xgacmn_tf.main", *arguments],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epoch=3", r"there is no flag --epoch; did you mean --epochs, .* See --helpfull$"),
        ("--zzz=3", r"there is no flag --zzz; --helpfull lists all flags$"),
        ("--classifier=svm", "--classifier=svm: expected one of angular, softmax, none$"),
        ("--epochs=many", "--epochs.*many"),
        ("--epochs=0", "--epochs=0: expected at least 1"),
        ("--dataset=imagenet21", "unknown data set|imagenet21"),
        ("--protocol=9", "protocol '9'"),
        ("train", "'train' is not a flag"),
        ("--evaluate_only", "--evaluate_only and --checkpoint=.* go together"),
        ("--flagfile=missing.flags", "missing.flags"),
    ],
)
def test_mistakes_end_with_one_line(call_main, argument, message):
    done = call_main(argument)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    assert re.search(message, lines[0]), done.stderr
    assert not (ROOT / "runs" / argument).exists()


def test_a_mistake_ends_the_process_with_status_2():
    done = command("--epochs=0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --epochs=0: expected at least 1")


def shown_flags(text):
    return re.findall(r"^  --(\w+)=", text, re.MULTILINE)


def test_help_shows_the_common_settings_and_names_the_full_help(call_main):
    done = call_main("--help")
    assert done.returncode == 0
    assert shown_flags(done.stdout) == [
        *("dataset", "data_dir", "columns", "image_features", "text_features"),
        *("model", "epochs", "output_dir", "seed", "flagfile"),
    ]
    assert "python -m xgacmn_tf.main" in done.stdout
    every = [*leaves(Config), *leaves(EvaluationOnly)]
    hidden = len(every) - 9
    assert done.stdout.endswith(f"\n--helpfull lists {hidden} more settings, by subject.\n")


def test_full_help_shows_all_settings_by_subject_in_the_order_of_use(call_main):
    done = call_main("--helpfull")
    assert done.returncode == 0
    every = [*leaves(Config), *leaves(EvaluationOnly)]
    assert shown_flags(done.stdout) == [*(leaf.name for leaf in every), "flagfile"]
    subjects = ["The data set", "The features", "The model", "X-GACMN", "Optimization", "Item emb"]
    places = [done.stdout.index(f"\n\n{subject}") for subject in subjects]
    assert places == sorted(places)


def test_an_unknown_setting_is_answered_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"called datset; did you mean dataset\?"):
        Config.of(datset="emoji")
