"""Every setting of a run: one frozen, validated dataclass; `command_line` has its flags.

Defaults are the paper's (§4.1) where it states a value: layer widths, batch 64, m = 5, λ = (10, 5,
100). What it leaves open (optimizer, learning rates, epochs, dropout, the margin's annealing, input
maps, the ranking similarity) has a default that was chosen on validation data. Settings that suit
one data set better stand in the files of `flags/`, each with its reason.
"""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import (
    CHI2_COMPONENTS,
    CHI2_GAMMA,
    CODE_SIMILARITIES,
    HOLD_OUT,
    MAP_NAMES,
    OWN_METHOD,
    SYSTEMS,
)
from xgacmn_tf.settings.fields import check, kind_of, setting

XGACMN = "xgacmn"


_own = functools.partial(setting, own=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run. A value that is out of range raises an `InputError` naming its flag."""

    # What is trained, and on what.
    model: str = setting(
        XGACMN,
        f"{XGACMN}; a system to compare it with, the paper's first: {', '.join(SYSTEMS)}; or "
        "path/to/file.py:NAME of a method of your own",
    )
    model_settings: tuple[str, ...] = setting(
        (), "hyper-parameters of a compared system, such as components=9; a wrong one lists them"
    )
    dataset: str = setting(
        "emoji",
        "built-in data set (emoji, openclipart, wikipedia, pascal_sentence, nuswide), a .npz, "
        ".mat, .h5 or .hdf5 file of your own features, a .csv or .tsv table of your own images, "
        "texts and labels, or the name of a TFDS data set",
    )
    data_dir: str | None = setting(
        None, "folder that holds the data set's files, where it needs any", shapes_result=False
    )
    columns: tuple[str, ...] = setting(
        (),
        "names in a feature file or table that calls its arrays or columns otherwise, such as "
        "image_train=I_tr,text_train=T_tr or text=caption; a wrong one lists what the file holds",
        later=True,
    )
    protocol: str | None = setting(
        None, "which split of the data set, where it has several; a wrong one lists them"
    )
    image_features: str | None = setting(
        None,
        "what to make of the pictures of a data set that has some, such as vgg19 or "
        "efficientnet_lite2; by default the features that it comes with",
    )
    text_features: str | None = setting(None, "the same for its texts, such as bow, lda or minilm")
    image_weights: str | None = setting(
        None,
        "file or preset folder of the image network's weights, instead of a download",
        shapes_result=False,
    )
    text_weights: str | None = setting(None, "the same for the text network's", shapes_result=False)
    cache_dir: str | None = setting(
        None,
        "folder that keeps extracted features for the next run; by default the user's cache folder",
        shapes_result=False,
    )
    on_bad_image: str = setting(
        "refuse",
        "what to do about a picture that cannot be read: refuse the data set, or skip the pair and "
        "report it",
        choices=("refuse", "skip"),
        shapes_result=False,  # the data's fingerprint tells
    )
    streaming: bool = _own(
        False,
        "read the training split of a TFDS data set from its files, epoch after epoch, instead of "
        "keeping it in memory",
    )
    validation_fraction: float = setting(
        0.2,
        "share of the training split held out to choose the best epoch and to calibrate class "
        "posteriors, where the data set brings no validation split of its own; 0 trains on all of "
        "it, keeps the last epoch and calibrates nothing. Compared systems that have neither "
        "epochs to choose nor posteriors always train on all of it",
        least=0.0,
        most=0.5,
    )
    image_map: str = _own(
        "auto",
        "how image features are brought to the encoder's scale; auto: tfidf for word counts, chi2 "
        "for histograms, unit for other sparse non-negative features, else zscore",
        choices=MAP_NAMES,
    )
    text_map: str = _own("auto", "the same for text features", choices=MAP_NAMES)
    chi2_gamma: float = _own(
        CHI2_GAMMA,
        "width of the chi2 map's kernel: γ times the mean χ² distance of two training rows",
        least=1e-6,
    )
    chi2_components: int = _own(
        CHI2_COMPONENTS,
        "components that the chi2 map keeps, at most, and at most ten a dimension",
        least=1,
    )

    # Networks, §4.1.
    encoder_hidden: tuple[int, ...] = _own(
        (512, 100), "hidden layers of the encoders; the decoders mirror them", least=1
    )
    code_dim: int = _own(100, "dimension of the common space", least=1)
    code_activation: str = _own(
        "tanh",
        "activation of the code; linear for the pictures of Fig. 4",
        choices=("tanh", "linear"),
    )
    generated_activation: str = _own(
        "tanh", "activation of the generated features", choices=("tanh", "linear")
    )
    feature_discriminator_hidden: int = _own(2000, "hidden units of D_I and D_T", least=1)
    common_discriminator_hidden: int = _own(50, "hidden units of D_C", least=1)
    image_dropout: float | None = _own(
        None,
        "dropout after the image encoder's hidden layers; by default 0.5, and 0 for features of "
        "few dimensions",
        least=0.0,
        most=0.95,
    )
    text_dropout: float | None = _own(None, "the same for the text encoder", least=0.0, most=0.95)

    # Losses, Eq. 1–11; Table 3's ablations.
    lambda_1: float = _own(10.0, "weight of the pair term (0 removes it)", least=0.0)
    lambda_2: float = _own(5.0, "weight of the adversarial terms", least=0.0)
    lambda_3: float = _own(100.0, "weight of the class terms", least=0.0)
    distillation: float = _own(
        0.0,
        "weight of a term beyond the paper: an image's class posteriors learn from its text's",
        least=0.0,
    )
    classifier: str = _own(
        "angular",
        "class loss: A-softmax (Eq. 8), plain softmax (Eq. 6) or none",
        choices=("angular", "softmax", "none"),
    )
    margin: int = _own(5, "the angular margin m", least=1, most=16)
    margin_weight_floor: float = _own(
        10.0, "least weight λ of plain cosine beside ψ; 0 ends at the pure ψ of Eq. 9", least=0.0
    )
    margin_weight_base: float = _own(
        0.0, "weight λ that the margin's annealing starts from; 0: constant at the floor", least=0.0
    )
    margin_weight_gamma: float = _own(0.12, "speed of the margin's annealing", least=0.0)
    margin_weight_power: float = _own(1.0, "exponent of the margin's annealing", least=0.0)
    discriminate_features: bool = _own(True, "train D_I and D_T")
    discriminate_codes: bool = _own(True, "train D_C")

    # Item embeddings, beyond the paper.
    item_embedding: bool = _own(
        True,
        "train item embeddings beside the paper's codes, which stay as they are: searches then "
        "rank by the category and by the item",
        later=True,
        before=False,
    )
    item_members: int = _own(
        3,
        "number of networks in an item tower, whose embeddings are concatenated",
        least=1,
        most=100,
        later=True,
        before=1,
    )
    item_dim: int = _own(100, "dimension of each network's item embeddings", least=1, later=True)
    item_hidden: tuple[int, ...] = _own(
        (512,), "hidden layers of the item towers", least=1, later=True
    )
    item_dropout: float = _own(
        0.6, "dropout after the item towers' hidden layers", least=0.0, most=0.95, later=True
    )
    item_temperature: float = _own(
        0.1, "temperature of the contrastive loss", least=0.001, later=True
    )
    item_batch_size: int = _own(128, "pairs in a step of the item towers", least=2, later=True)
    item_learning_rate: float = _own(
        5e-4, "Adam's learning rate for the item towers", least=1e-9, later=True
    )
    item_epochs: int | None = _own(
        None,
        "maximum number of epochs of the item towers; by default as many as make 800 steps, at "
        "least 20, but not more than --epochs. The epoch with the highest mean R@10 of five "
        "evaluations is kept",
        least=1,
        later=True,
    )
    item_weight: float | None = _own(
        None,
        "weight of the item embeddings' cosine beside the class posteriors; by default the one "
        "with the highest R@10 on the validation split that loses at most 0.025 of the mAP there",
        least=0.0,
        later=True,
    )

    # Optimization, Algorithm 1.
    epochs: int | None = _own(
        None,
        "most passes over the training split; by default as many as make 1,000 steps, at least 24",
        least=1,
    )
    choose_epoch: str = _own(
        "best",
        "the epoch that is kept. best: the one with the highest mean validation mAP of five "
        "evaluations; last: exactly --epochs are trained, and the validation split only calibrates "
        "the class posteriors. Without a validation split it is always the last",
        choices=("best", "last"),
        later=True,
    )
    patience: int | None = _own(
        None,
        "number of evaluations in a row without a better validation mAP after which training "
        "stops; by default a quarter of the planned evaluations, at least 10",
        least=1,
    )
    refit: bool = setting(
        True,
        "once a part of the training split has chosen the number of epochs and calibrated the "
        "posteriors, train anew on all of it for as many epochs; a validation split that the data "
        "set brings is never trained on",
    )
    batch_size: int = _own(64, "pairs in a step", least=1)
    generator_steps: int = _own(
        1, "K: generator steps for each step of the discriminators", least=1, most=100
    )
    generator_learning_rate: float = _own(
        3e-4, "Adam's learning rate for generators and class layer", least=1e-9
    )
    discriminator_learning_rate: float = _own(
        1e-4, "Adam's learning rate for the discriminators", least=1e-9
    )
    average_decay: float = _own(
        0.99,
        "decay of the moving average of the encoders' weights that is evaluated; 0: no average",
        least=0.0,
        most=0.99999,
    )
    seed: int = setting(
        0, "seed of initial weights, batches, dropout and random splits", least=0, most=2**31 - 1
    )

    # Evaluation and what is written.
    similarity: str = setting(
        "auto",
        "the run's headline similarity, which also chooses the best epoch; every other one is "
        "reported beside it. auto: the model's own, which for X-GACMN is posterior (cosine without "
        "a class loss)",
        choices=("auto", *CODE_SIMILARITIES),
    )
    deduplicate_gallery: bool = setting(
        False,
        "evaluate with each image once among the queries and in the gallery, with the labels and "
        "texts of all its pairs; by default each pair counts, as in the paper",
        later=True,
    )
    evaluate_every: int = _own(
        1,
        "number of epochs from one evaluation on the validation split to the next; the last epoch "
        "is always evaluated",
        least=1,
    )
    output_dir: str | None = setting(
        None,
        "run folder; by default runs/<data set>-<fingerprint of the settings>, so that the same "
        "command finds its run again",
        shapes_result=False,
    )
    strategy: str = _own(
        "one_device",
        "where to train: on one device; mirrored: on all GPUs of this machine; multi_worker: on "
        "the machines that the environment variable TF_CONFIG names, by the same command on each",
        choices=("one_device", "mirrored", "multi_worker"),
        shapes_result=False,  # but for rounding
    )
    precision: str = _own(
        "float32",
        "what the networks compute in while they train: bfloat16 halves a step where processor or "
        "GPU multiply it natively; weights, class layer, losses and what is evaluated, exported "
        "and served stay in float32",
        choices=("float32", "bfloat16"),
    )
    jit_compile: bool = _own(False, "compile the training step with XLA, on one device")
    steps_per_call: int = _own(
        100,
        "most steps in one compiled call, between two moves of the progress bar",
        least=1,
        shapes_result=False,
    )
    export: bool = setting(
        True, "export the trained encoders as a SavedModel in the run folder", shapes_result=False
    )
    histograms: bool = _own(
        False, "write histograms of the weights to TensorBoard", shapes_result=False
    )
    profile: bool = _own(
        False, "profile the second epoch for TensorBoard's profiler", shapes_result=False
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check(field, value)
            if kind_of(field)[0] is float and value is not None:
                # 100 and 100.0 are the same setting, also to `fingerprint`.
                object.__setattr__(self, field.name, float(value))
        if self.classifier == "none" and self.similarity == "posterior":
            raise InputError(
                "--similarity=posterior needs class posteriors, and --classifier=none learns none; "
                "use --similarity=cosine"
            )
        if self.jit_compile and self.strategy != "one_device":
            raise InputError(
                f"--jit_compile works on one device alone; leave out one of it and "
                f"--strategy={self.strategy}"
            )
        if self.classifier == "none" and self.distillation:
            raise InputError(
                f"--distillation={self.distillation:g} needs class posteriors, and "
                "--classifier=none learns none; leave one of them out"
            )
        if self.choose_epoch == "last" and self.patience is not None:
            raise InputError(
                f"--patience={self.patience} stops a training early, and --choose_epoch=last "
                "trains all epochs; leave one of them out"
            )
        self._check_model()

    def _check_model(self) -> None:
        """Raise an `InputError` for an unknown model, or a setting that it would not read."""
        if self.model not in (XGACMN, *SYSTEMS) and not OWN_METHOD.match(self.model):
            raise InputError(
                f"--model={self.model}: expected {XGACMN}, {', '.join(SYSTEMS)}, or "
                "path/to/file.py:NAME of a method of your own"
            )
        if self.model == XGACMN:
            if self.model_settings:
                raise InputError(
                    f"--model_settings={','.join(self.model_settings)}: X-GACMN's settings are "
                    "flags of their own; see --help"
                )
            return
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["own"] and value != field.default:
                raise InputError(
                    f"--{field.name}={value} is a setting of X-GACMN that --model={self.model} "
                    "would not read; leave it out, or use --model_settings"
                )

    @property
    def held_out(self) -> float:
        """The share of the training split that is held out; 0 where nothing would use it."""
        uses_it = self.model not in SYSTEMS or self.model in HOLD_OUT
        return self.validation_fraction if uses_it else 0.0

    def headline(self, own: str | None = None) -> str:
        """The similarity that the run ranks by; `own` is that of a compared system."""
        if self.similarity != "auto":
            return self.similarity
        return own or ("cosine" if self.classifier == "none" else "posterior")

    @property
    def annealing_config(self) -> dict[str, float]:
        """The arguments of `angular_softmax.MarginAnnealing`."""
        names = ("floor", "base", "gamma", "power")
        return {name: getattr(self, f"margin_weight_{name}") for name in names}

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, ready for JSON."""
        return dataclasses.asdict(self)

    def result_settings(self) -> dict[str, Any]:
        """The settings that a run's numbers depend on, with lists for tuples as JSON has them."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["shapes_result"] and self._reads(field)
        }
        return _as_json(values)

    def _reads(self, field: dataclasses.Field[Any]) -> bool:
        """Whether a run with these settings reads this one."""
        if field.metadata["own"] and self.model != XGACMN:
            return False
        of_items = field.name.startswith("item_") and field.name != "item_embedding"
        return self.item_embedding or not of_items

    @classmethod
    def earlier(cls, model: str) -> dict[str, Any]:
        """What runs of `model` did before settings were added, by name and as JSON has it."""
        values = {
            field.name: field.metadata["before"]
            for field in dataclasses.fields(cls)
            if field.metadata["later"] and (model == XGACMN or not field.metadata["own"])
        }
        return _as_json(values)

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ whenever `result_settings` do.

        Settings that were added later count only where they change what was done before, so that
        the same command finds the run folder of an earlier version.
        """
        values = self.result_settings()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["later"] and value == field.metadata["before"]:
                values.pop(field.name, None)
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Settings with lists for tuples, as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
