"""Sections of settings that only X-GACMN reads, as those of `sections`."""

from __future__ import annotations

import dataclasses

from xgacmn_tf.names import (
    CHI2_COMPONENTS,
    CHI2_GAMMA,
    FEATURE_DISCRIMINATOR_HIDDEN,
    MAP_CHOICES,
    MAP_NAMES,
    RBF_COMPONENTS,
    RBF_GAMMA,
)
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class XGACMNSettings(Section):
    """X-GACMN: its input maps, networks and losses."""

    image_map: str = setting(
        "auto",
        "transformation of image features before the encoder. zscore standardizes each feature; "
        "hellinger does so after the square root, and rank after ranking; unit scales rows to one "
        "length; tfidf weighs word counts; whiten decorrelates features; chi2 and rbf take "
        "components of a χ² or a Gaussian kernel; auto: see --map_choice",
        choices=MAP_NAMES,
    )
    text_map: str = setting("auto", "the same for text features", choices=MAP_NAMES)
    map_choice: str = setting(
        "evidence",
        "choice of the maps that are auto. rule: tfidf for word counts, chi2 for histograms, unit "
        "for other sparse non-negative features, otherwise zscore. evidence: rbf in place of "
        "zscore with fewer than ten pairs for each feature, and any other map that predicts the "
        "categories of left-out training items clearly better",
        choices=MAP_CHOICES,
        later=True,
        before="rule",
    )
    chi2_gamma: float = setting(
        CHI2_GAMMA,
        "width of the kernel of the chi2 map: γ times the mean χ² distance of two training rows",
        minimum=1e-6,
    )
    chi2_components: int = setting(
        CHI2_COMPONENTS,
        "maximum number of components of the chi2 map, which are at most ten per dimension",
        minimum=1,
    )
    rbf_gamma: float = setting(
        RBF_GAMMA,
        "width of the kernel of the rbf map: γ times the median squared distance of two training "
        "rows, whose features are z-scored",
        minimum=1e-6,
        later=True,
    )
    rbf_components: int = setting(
        RBF_COMPONENTS,
        "maximum number of components of the rbf map, which are at most ten per dimension",
        minimum=1,
        later=True,
    )

    # Networks, §4.1.
    encoder_hidden: tuple[int, ...] = setting(
        (512, 100), "hidden layers of the encoders; the decoders mirror them", minimum=1
    )
    code_dim: int = setting(100, "dimension of the common space", minimum=1)
    code_activation: str = setting(
        "tanh",
        "activation of the code; linear for Fig. 4",
        choices=("tanh", "linear"),
    )
    generated_activation: str = setting(
        "tanh", "activation of the generated features", choices=("tanh", "linear")
    )
    feature_discriminator_hidden: int = setting(
        FEATURE_DISCRIMINATOR_HIDDEN,
        "hidden units of D_I and D_T; the paper has 2000, which take twice the time",
        minimum=1,
    )
    common_discriminator_hidden: int = setting(50, "hidden units of D_C", minimum=1)
    image_dropout: float | None = setting(
        None,
        "dropout after the hidden layers of the image encoder; by default 0.5, and 0 from 10 "
        "training pairs for each mapped feature (20 with fewer than 250 pairs); pairs held out for "
        "validation are not counted",
        minimum=0.0,
        maximum=0.95,
    )
    text_dropout: float | None = setting(
        None, "the same for the text encoder", minimum=0.0, maximum=0.95
    )

    # Losses, Eq. 1–11; Table 3's ablations.
    lambda_1: float = setting(10.0, "weight of the pair term (0 removes it)", minimum=0.0)
    lambda_2: float = setting(5.0, "weight of the adversarial terms", minimum=0.0)
    lambda_3: float = setting(100.0, "weight of the class terms", minimum=0.0)
    label_smoothing: float | None = setting(
        None,
        "share of equal class posteriors in the class terms, which is beyond the paper; by default "
        "0.1, and 0 (Eq. 6 and 8 alone) with fewer than 250 training pairs, not counting those "
        "held out for validation",
        minimum=0.0,
        maximum=0.9,
        later=True,
        before=0.0,
    )
    distillation: float = setting(
        0.0,
        "weight of a term beyond the paper: the class posteriors of an image learn from those of "
        "its text",
        minimum=0.0,
    )
    classifier: str = setting(
        "angular",
        "class loss: A-softmax (Eq. 8), plain softmax (Eq. 6) or none",
        choices=("angular", "softmax", "none"),
    )
    margin: int = setting(5, "the angular margin m", minimum=1, maximum=16)
    margin_weight_floor: float = setting(
        10.0,
        "minimum weight λ of the plain cosine beside ψ; 0 ends at the pure ψ of Eq. 9",
        minimum=0.0,
    )
    margin_weight_base: float = setting(
        0.0,
        "weight λ at which the annealing of the margin starts; 0: constant at the floor",
        minimum=0.0,
    )
    margin_weight_gamma: float = setting(0.12, "speed of the annealing of the margin", minimum=0.0)
    margin_weight_power: float = setting(
        1.0, "exponent of the annealing of the margin", minimum=0.0
    )
    discriminate_features: bool = setting(True, "train D_I and D_T")
    discriminate_codes: bool = setting(True, "train D_C")

    @property
    def annealing(self) -> dict[str, float]:
        """The arguments of `angular_softmax.MarginAnnealing`."""
        return {
            "floor": self.margin_weight_floor,
            "base": self.margin_weight_base,
            "gamma": self.margin_weight_gamma,
            "power": self.margin_weight_power,
        }


@dataclasses.dataclass(frozen=True)
class ItemSettings(Section):
    """Item embeddings, which are beyond the paper."""

    item_embedding: bool = setting(
        True,
        "train item embeddings beside the paper's codes, which stay as they are: searches then "
        "rank by the category and by the item",
        later=True,
        before=False,
    )
    item_members: int = setting(
        3,
        "number of networks in an item tower, whose embeddings are concatenated",
        minimum=1,
        maximum=100,
        later=True,
        before=1,
    )
    item_dim: int = setting(
        100, "dimension of each network's item embeddings", minimum=1, later=True
    )
    item_hidden: tuple[int, ...] = setting(
        (512,), "hidden layers of the item towers", minimum=1, later=True
    )
    item_dropout: float = setting(
        0.6,
        "dropout after the hidden layers of the item towers",
        minimum=0.0,
        maximum=0.95,
        later=True,
    )
    item_temperature: float = setting(
        0.1, "temperature of the contrastive loss", minimum=0.001, later=True
    )
    item_batch_size: int = setting(128, "pairs in a step of the item towers", minimum=2, later=True)
    item_learning_rate: float = setting(
        5e-4, "Adam's learning rate for the item towers", minimum=1e-9, later=True
    )
    item_epochs: int | None = setting(
        None,
        "maximum number of epochs of the item towers; by default as many as make 800 steps, at "
        "least 20, but not more than --epochs. The epoch with the highest mean R@10 of five "
        "evaluations is kept",
        minimum=1,
        later=True,
    )
    item_weight: float | None = setting(
        None,
        "weight of the cosine of item embeddings beside the class posteriors; by default the one "
        "with the highest R@10 on the validation split that loses at most 0.025 of the mAP there. "
        "Without a validation split it is chosen on held-out pairs whose categories are predicted, "
        "if some pairs have no category and there are at least 250; else it is 0.3",
        minimum=0.0,
        later=True,
    )


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Section):
    """Optimization by Algorithm 1, and the devices it runs on."""

    epochs: int | None = setting(
        None,
        "maximum number of passes over the training split; by default as many as make 1,000 "
        "steps, at least 24; 300 steps with fewer than 250 pairs and than 20 pairs for each "
        "feature",
        minimum=1,
        common=True,
    )
    choose_epoch: str = setting(
        "best",
        "the epoch that is kept. best: the one with the highest mean validation mAP of five "
        "evaluations; last: exactly --epochs are trained, and the validation split only calibrates "
        "the class posteriors. Without a validation split it is always the last",
        choices=("best", "last"),
        later=True,
    )
    patience: int | None = setting(
        None,
        "number of evaluations in a row without a better validation mAP after which training "
        "stops; by default as many as 400 steps take, at least 10",
        minimum=1,
    )
    evaluate_every: int = setting(
        1,
        "number of epochs from one evaluation on the validation split to the next; the last epoch "
        "is always evaluated",
        minimum=1,
    )
    batch_size: int = setting(64, "pairs in a step", minimum=1)
    init: str | None = setting(
        None,
        "folder of a finished run of X-GACMN on the same features, from whose weights and input "
        "maps the training on all pairs starts; categories are matched by name, and new ones start "
        "untrained. Features that are learned from each data set (bow, lda, sift) fit only runs on "
        "the same training images and texts",
        later=True,
    )
    pseudo_labels: bool = setting(
        False,
        "train twice where training pairs have no category: the second training also learns from "
        "the classes of which the first one is confident",
        later=True,
    )
    pseudo_label_confidence: float = setting(
        0.9,
        "calibrated class posterior, mean of image and text, above which a pair receives a "
        "pseudo-label",
        minimum=0.0,
        maximum=1.0,
        later=True,
    )
    generator_steps: int = setting(
        1, "K: generator steps for each step of the discriminators", minimum=1, maximum=100
    )
    generator_learning_rate: float | None = setting(
        None,
        "Adam's learning rate for generators and class layer; by default 3e-4, and 1e-3 with at "
        "most 256 features and at least 250 training pairs, not counting those held out for "
        "validation",
        minimum=1e-9,
    )
    discriminator_learning_rate: float = setting(
        1e-4, "Adam's learning rate for the discriminators", minimum=1e-9
    )
    average_decay: float = setting(
        0.99,
        "decay of the moving average of the encoders' weights that is evaluated; 0: no average",
        minimum=0.0,
        maximum=0.99999,
    )
    strategy: str = setting(
        "one_device",
        "where to train: on one device; mirrored: on all GPUs of this machine; multi_worker: on "
        "the machines that the environment variable TF_CONFIG names, by the same command on each",
        choices=("one_device", "mirrored", "multi_worker"),
        affects_results=False,  # Except for rounding.
    )
    precision: str = setting(
        "float32",
        "number format of the networks during training: bfloat16 takes 0.55 to 0.8 of the time of "
        "a step on wide features where the processor multiplies it natively; weights, class "
        "layer, losses, and everything that is evaluated, exported or served stay in float32",
        choices=("float32", "bfloat16"),
    )
    jit_compile: bool = setting(False, "compile the training step with XLA, on one device")
    steps_per_call: int = setting(
        100,
        "maximum number of steps in one compiled call, after which the progress bar moves",
        minimum=1,
        affects_results=False,
    )
    histograms: bool = setting(
        False, "write histograms of the weights to TensorBoard", affects_results=False
    )
    profile: bool = setting(
        False, "profile the second epoch for TensorBoard's profiler", affects_results=False
    )
