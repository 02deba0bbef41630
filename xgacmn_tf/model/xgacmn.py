"""The Keras model X-GACMN: construction, `adapt`, `compile`, `fit`, use and saving (§3.2–3.4)."""

from __future__ import annotations

import os
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.devices import Devices
from xgacmn_tf.model import PACKAGE, losses
from xgacmn_tf.model.adversarial import AdversarialModel
from xgacmn_tf.model.angular_softmax import (
    AngularSoftmax,
    ClassLayer,
    MarginAnnealing,
    PlainSoftmax,
)
from xgacmn_tf.model.checks import check_features, check_numbers, check_pairs, checked_labels
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.epochs import BatchSource, EpochRunner
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.model.map_choice import fit_resolved
from xgacmn_tf.model.networks import (
    LABEL_SMOOTHING,
    Encoder,
    default_dropout,
    default_label_smoothing,
)
from xgacmn_tf.model.optimizers import FusedAdam
from xgacmn_tf.names import (
    CHI2_COMPONENTS,
    CHI2_GAMMA,
    FEATURE_DISCRIMINATOR_HIDDEN,
    MODALITIES,
    RBF_COMPONENTS,
    RBF_GAMMA,
)

# Of Adam, where `compile` is given no optimizers.
GENERATOR_LEARNING_RATE, DISCRIMINATOR_LEARNING_RATE = 3e-4, 1e-4
# Arguments of `XGACMN` that its training reads, and those that `adapt` builds the encoders from.
_TRAINING_ARGUMENTS = (
    *("output_activation", "feature_discriminator_hidden", "common_discriminator_hidden"),
    *("lambda_1", "lambda_2", "lambda_3", "label_smoothing", "distillation"),
    *("generator_steps", "average_decay"),
)
_ENCODER_ARGUMENTS = (
    *("num_classes", "image_map", "text_map", "map_choice"),
    *("chi2_gamma", "chi2_components", "rbf_gamma", "rbf_components", "code_dim"),
    *("code_activation", "image_dropout", "text_dropout", "class_layer", "margin"),
)


@keras.saving.register_keras_serializable(PACKAGE)
class XGACMN(AdversarialModel):
    """X-GACMN with its training (§3.2–3.4, Algorithm 1).

    `adapt` fits the input maps to training features and builds the networks, whose sizes follow
    the features; `compile()` creates an Adam optimizer for each player; `fit` alternates between
    discriminators and generators. Encoding, evaluation and export use `averaged`, the encoders
    with the moving average of their weights.

    A batch is a dict: "image" (n, d_v) and "text" (n, d_t), raw float features, and "label", (n,)
    integers, (n, c) one-hot or multi-hot. Labels may also be `y`. Features that were mapped once
    (`prepare`) stand under "mapped_image" and "mapped_text", and, where an input map leaves the
    feature space, "image_target" and "text_target" for the discriminators. Where pairs lack an
    image, a text or a category, "has_image", "has_text" and "has_label" (n,) bool tell: features of
    a missing item are zeros, its label is −1 or a row of zeros, and each term is over the rows that
    it can use. Those masks hold for all batches of the data or for none. `fit`, `evaluate` and
    `predict` take such batches from arrays or `tf.data`, and `Split.batches`, which they map once.

    Args:
        encoder: encoders with input maps and class layer; None lets `adapt` build them from the
            arguments that follow `num_classes`.
        num_classes: c, at least 2; required without an encoder.
        image_map, text_map: input maps by name, one of `names.MAP_NAMES`; "auto" chooses by
            `map_choice`.
        map_choice: "evidence" chooses by leave-one-out posteriors of the categories, see
            `map_choice.weigh_maps`; "rule" by the kind of features alone, see
            `map_choice.choose_map`.
        chi2_gamma, chi2_components: of the χ² map, see `map_choice.fit_map`.
        rbf_gamma, rbf_components: of the Gaussian map, likewise.
        encoder_hidden: widths of the encoders' hidden layers (§4.1).
        code_dim: dimension of the common space (§4.1).
        code_activation: activation of the code, "tanh" or "linear".
        image_dropout, text_dropout: dropout after the encoders' hidden layers; None takes
            `networks.default_dropout`.
        class_layer: "angular" (`AngularSoftmax`, Eq. 8), "softmax" (`PlainSoftmax`, Eq. 6), None,
            or a `ClassLayer` of `num_classes`.
        margin: the angular margin m of "angular".
        pair_loss: "l2" (§3.3), or a function that is registered with Keras, from the codes of a
            batch's images and texts, (n, code_dim) each, to a scalar. In training on incomplete
            pairs it also receives `rows`, (n,) bool, those with both.
        adversarial_loss: "cross_entropy" (Eq. 1–5), or a `losses.AdversarialLoss`.
        decoder_hidden: widths of the decoders' hidden layers; None mirrors `encoder_hidden`.
        output_activation: of both decoders, see `networks.Decoder`.
        feature_discriminator_hidden: hidden units of D_I and D_T, 2,000 in the paper; None leaves
            both out (Table 3).
        common_discriminator_hidden: hidden units of D_C; None leaves it out (Table 3).
        lambda_1, lambda_2, lambda_3: weights of the pair, adversarial and class terms (Eq. 10–11).
        label_smoothing: share of `losses.label_smoothing_loss` in the class terms, in [0, 1); the
            paper has none. None takes `networks.default_label_smoothing`, or 0.1 where encoders
            are given.
        distillation: weight of `losses.distillation_loss`; the paper has no such term.
        generator_steps: K of Algorithm 1.
        annealing: the margin's weight over the generators' steps.
        average_decay: decay of the moving average of the encoders' weights that `averaged` holds,
            float32 layers; 0 makes `averaged` follow the encoders exactly.
        **kwargs: of `keras.Model`. With the dtype "mixed_bfloat16" the networks compute in
            bfloat16; losses are float32 in any case.

    Raises:
        ValueError: neither an encoder nor a number of classes is given, or a loss is unknown.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import xgacmn_tf as xg
    >>> keras.utils.set_random_seed(0)
    >>> label = np.arange(8) % 2
    >>> pairs = {"image": np.eye(2)[label] + 0.1, "text": np.eye(2)[label] - 0.1}
    >>> model = xg.XGACMN(num_classes=2, image_map="none", text_map="none", code_dim=4)
    >>> model.adapt(pairs)
    >>> model.compile()
    >>> history = model.fit(pairs, label, batch_size=4, epochs=2, verbose=0)
    >>> model.encode_text(pairs["text"], output="posterior").shape
    (8, 2)
    """

    def __init__(
        self,
        encoder: CommonSpaceEncoder | None = None,
        *,
        num_classes: int | None = None,
        image_map: str = "auto",
        text_map: str = "auto",
        map_choice: str = "evidence",
        chi2_gamma: float = CHI2_GAMMA,
        chi2_components: int = CHI2_COMPONENTS,
        rbf_gamma: float = RBF_GAMMA,
        rbf_components: int = RBF_COMPONENTS,
        encoder_hidden: Sequence[int] = (512, 100),
        code_dim: int = 100,
        code_activation: str = "tanh",
        image_dropout: float | None = None,
        text_dropout: float | None = None,
        class_layer: str | ClassLayer | None = "angular",
        margin: int = 5,
        pair_loss: str | Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = "l2",
        adversarial_loss: str | losses.AdversarialLoss = "cross_entropy",
        decoder_hidden: Sequence[int] | None = None,
        output_activation: str = "tanh",
        feature_discriminator_hidden: int | None = FEATURE_DISCRIMINATOR_HIDDEN,
        common_discriminator_hidden: int | None = 50,
        lambda_1: float = 10.0,
        lambda_2: float = 5.0,
        lambda_3: float = 100.0,
        label_smoothing: float | None = None,
        distillation: float = 0.0,
        generator_steps: int = 1,
        annealing: MarginAnnealing | None = None,
        average_decay: float = 0.99,
        **kwargs: Any,
    ):
        arguments = dict(locals())
        super().__init__(**kwargs)
        # Raw features keep their precision whatever the networks compute in.
        self.autocast = False
        if encoder is None and num_classes is None:
            raise ValueError("XGACMN needs num_classes, the number of categories")
        self.pair_loss, self._pair_loss_name = losses.named_pair_loss(pair_loss)
        self.adversarial_loss = losses.adversarial_loss(adversarial_loss)
        self.annealing = annealing or MarginAnnealing()
        self.settings: dict[str, Any] = {name: arguments[name] for name in _TRAINING_ARGUMENTS}
        self.settings["decoder_hidden"] = tuple(decoder_hidden or tuple(encoder_hidden)[::-1])
        # The arguments of the encoders, for `adapt`.
        self.encoder_settings: dict[str, Any] = {
            name: arguments[name] for name in _ENCODER_ARGUMENTS
        }
        self.encoder_settings["encoder_hidden"] = tuple(encoder_hidden)
        if isinstance(class_layer, str) and class_layer not in ("angular", "softmax"):
            raise ValueError(
                f"class_layer={class_layer!r}: expected angular, softmax, None or a ClassLayer"
            )
        if encoder is None and isinstance(class_layer, ClassLayer):
            if class_layer.num_classes != num_classes:
                raise ValueError(
                    f"class_layer has {class_layer.num_classes} classes and num_classes is "
                    f"{num_classes}; expected the same number"
                )
        self._runner: EpochRunner | None = None
        # Keras's, here with its type.
        self.train_function: Callable[..., Any] | None = None
        self._epoch_terms: dict[str, float] = {}
        if encoder is not None:
            self._build_around(encoder)

    def adapt(self, data: Any, *, batch_size: int | None = None) -> None:
        """Fit the input maps to training features and build the networks.

        Args:
            data: training pairs: a `datasets.Split`, or an object or a dict with "image" (n, d_v)
                and "text" (n, d_t) arrays of finite raw features, and "has_image" and "has_text"
                (n,) bool or None where items are missing; the maps are fitted on those present.
                Where it has "label" and a map is "auto", the categories choose the map; "group"
                (n,) is equal for pairs of one image.
            batch_size: not used; Keras's preprocessing layers have it.

        Raises:
            InputError: a map does not suit the features.
            ValueError: the model has its networks already, or features are not (n, d) finite
                numbers.
        """
        del batch_size
        if self.built:
            raise ValueError("the model is adapted already; create a new XGACMN for other features")
        if hasattr(data, "to_fit"):
            data = data.to_fit()

        def array(name: str) -> np.ndarray | None:
            value = data.get(name) if isinstance(data, Mapping) else getattr(data, name, None)
            return None if value is None else np.asarray(value)

        pairs = {}
        for modality in MODALITIES:
            if (features := array(modality)) is None:
                raise ValueError(
                    f"adapt received a {type(data).__name__} without {modality!r}; expected "
                    "training pairs, such as data.train or {'image': (n, d_v), 'text': (n, d_t)}"
                )
            check_numbers(modality, features)
            pairs[modality] = features.astype(np.float32, copy=False)
        image, text = pairs.values()
        if image.ndim != 2 or text.ndim != 2 or len(image) != len(text) or not len(image):
            raise ValueError(
                f"adapt received image features of shape {image.shape} and text features of shape "
                f"{text.shape}; expected (n, d_v) and (n, d_t), row i of both the same pair"
            )
        for modality, features in pairs.items():
            finite = np.isfinite(features).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"adapt received {modality} features with values that are not finite, first "
                    f"in row {int(np.argmin(finite))}; repair or drop these rows"
                )
        settings, maps = types.SimpleNamespace(**self.encoder_settings), []
        for modality, features in pairs.items():
            has, label, group = array(f"has_{modality}"), array("label"), array("group")
            rows = slice(None) if has is None else has.astype(bool)
            maps.append(
                fit_resolved(
                    settings,
                    modality,
                    features[rows],
                    None if label is None else label[rows],
                    None if group is None else group[rows],
                )
            )
        self.build_on(maps[0], maps[1], rows=len(image))

    def build_on(self, image_map: InputMap, text_map: InputMap, rows: int) -> None:
        """Build the networks on fitted input maps, instead of `adapt`.

        Args:
            image_map, text_map: fitted.
            rows: number of training pairs, from which dropout and label smoothing follow.
        """
        if self.settings["label_smoothing"] is None:
            self.settings["label_smoothing"] = default_label_smoothing(rows)
        settings, encoders = self.encoder_settings, {}
        for modality, input_map in (("image", image_map), ("text", text_map)):
            dropout = settings[f"{modality}_dropout"]
            encoders[modality] = Encoder(
                hidden=settings["encoder_hidden"],
                code_dim=settings["code_dim"],
                code_activation=settings["code_activation"],
                dropout=default_dropout(input_map.output_dim, rows) if dropout is None else dropout,
                dtype=self.dtype_policy,
                name=f"{modality}_encoder",
            )
        layer, num_classes = settings["class_layer"], settings["num_classes"]
        if layer == "angular":
            layer = AngularSoftmax(
                num_classes, m=settings["margin"], dtype="float32", name="angular_softmax"
            )
        elif layer == "softmax":
            layer = PlainSoftmax(num_classes, dtype="float32", name="softmax")
        self._build_around(
            CommonSpaceEncoder(image_map, text_map, encoders["image"], encoders["text"], layer)
        )
        if self.compiled:
            self._build_optimizers()

    def _build_around(self, encoder: CommonSpaceEncoder) -> None:
        """Build all other parts around encoders."""
        self.encoder, self.encoder_settings = encoder, {}
        if self.settings["label_smoothing"] is None:
            self.settings["label_smoothing"] = LABEL_SMOOTHING
        # Whatever training computes in: these are for evaluation, search and serving.
        as_float32 = {"dtype": "float32"}
        clone: list[Any] = [
            None if layer is None else type(layer).from_config(layer.get_config() | as_float32)
            for layer in (encoder.image_encoder, encoder.text_encoder, encoder.class_layer)
        ]
        self.averaged = CommonSpaceEncoder(encoder.image_map, encoder.text_map, *clone)
        self.averaged.trainable = False
        self._build_parts()
        self.reset_average()
        self.built = True

    # Training.

    def compile(
        self,
        d_optimizer: keras.optimizers.Optimizer | str | None = None,
        g_optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take one optimizer for the discriminators and one for the generators.

        Both are built here, or by `adapt`, so that a checkpoint restores their state as well.
        Callbacks that change a learning rate see the generators', as `model.optimizer`.

        Args:
            d_optimizer: None takes Adam with learning rate 1e-4.
            g_optimizer: None takes Adam with learning rate 3e-4.
            jit_compile: whether to train through XLA, which rounds differently.
            **kwargs: `run_eagerly` and `steps_per_execution`, as Keras documents them.

        Raises:
            ValueError: a loss or metrics are given: the model has its own; or one optimizer for
                both.
        """
        unknown = sorted(set(kwargs) - {"run_eagerly", "steps_per_execution"})
        one = isinstance(d_optimizer, keras.optimizers.Optimizer) and d_optimizer is g_optimizer
        if "optimizer" in unknown or one:
            raise ValueError(
                "compile takes two optimizers, d_optimizer for the discriminators and g_optimizer "
                "for the generators, each an instance of its own or a name; None is Adam"
            )
        if unknown:
            raise ValueError(
                f"compile received {', '.join(unknown)}; XGACMN has its own losses and metrics "
                "(pair_loss, class_layer and adversarial_loss of the constructor change them)"
            )
        if d_optimizer is None:
            d_optimizer = FusedAdam(DISCRIMINATOR_LEARNING_RATE)
        if g_optimizer is None:
            g_optimizer = FusedAdam(GENERATOR_LEARNING_RATE)
        self.uses_xla = jit_compile
        with warnings.catch_warnings():
            # With deterministic operations Keras leaves XLA off; an `EpochRunner` uses it.
            warnings.filterwarnings("ignore", "Model doesn't support `jit_compile=True`")
            super().compile(
                optimizer=g_optimizer, auto_scale_loss=False, jit_compile=jit_compile, **kwargs
            )
        self.d_optimizer, self.g_optimizer = keras.optimizers.get(d_optimizer), self.optimizer
        if self.built:
            self._build_optimizers()

    def _build_optimizers(self) -> None:
        self.g_optimizer.build(self.generator_weights)
        if self.discriminator_weights:
            self.d_optimizer.build(self.discriminator_weights)
        self._epoch_means = [keras.metrics.Mean(name=name) for name in self.term_names()]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._epoch_means if hasattr(self, "_epoch_means") else []

    def get_metrics_result(self) -> dict[str, Any]:
        # The terms of an epoch that an `EpochRunner` runs are sums of its own.
        return dict(self._epoch_terms) or super().get_metrics_result()

    def reset_metrics(self) -> None:
        self._epoch_terms = {}
        super().reset_metrics()

    def make_train_function(self, force: bool = False) -> Callable[..., Any] | None:
        if self._runner is None:
            return super().make_train_function(force)

        def train_function(iterator: Any) -> dict[str, float]:
            assert self._runner is not None
            self._epoch_terms = self._runner(iterator)
            return self._epoch_terms

        self.train_function = train_function
        return train_function

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as Algorithm 1 does, once for each batch.

        Callbacks, epochs, validation and the returned `History` are Keras's. The logs are the means
        of the terms over the epoch by name (`term_names`): "D/loss", "G/loss", and with validation
        data "val_G/loss" and so on.

        Args:
            x: `Split.batches(n)`, which is mapped once and shuffled by its own seed; a
                `tf.data.Dataset` of batches; or a dict of arrays.
            y: labels, where `x` has none.
            *args: as Keras has them.
            **kwargs: as Keras has them. Neither sample weights nor class weights are taken.

        Raises:
            ValueError: the model is not adapted; features or labels have another form, type or
                shape; or labels are out of range.
            DivergenceError: a term is not finite in training on `Split.batches(n)`.
        """
        self._check_adapted("fit")
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise ValueError(f"fit received {name}; XGACMN weights all pairs equally")
        if (source := kwargs.get("validation_data")) is not None:
            kwargs["validation_data"] = self._validation_data(source)
        if not isinstance(x, BatchSource):
            x, y = self._checked("fit", x, y)
            return super().fit(x, y, *args, **kwargs)
        own = ("batch_size", "steps_per_epoch", "validation_split")
        if y is not None or args or any(kwargs.get(name) for name in own):
            raise ValueError(
                "fit on Split.batches(n) takes labels, batch size and steps from there; leave y, "
                f"{', '.join(own)} out, and name all other arguments"
            )
        # Several workers cannot train through Keras's own distribution (keras-team/keras issues
        # 20585 and 20329). Replicas meet inside the runner, so Keras sees one device.
        strategy: tf.distribute.Strategy | None = self._distribute_strategy
        self._distribute_strategy: Any = None
        devices = Devices(strategy)
        rows = x.rows(self, devices)
        self._runner = EpochRunner(self, rows, devices)
        self.train_function = None
        callbacks = kwargs.pop("callbacks", None)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self._runner)
        else:
            callbacks = [self._runner, *(tf.nest.flatten(callbacks) if callbacks else [])]
        steps = tf.data.Dataset.range(rows.steps)
        try:
            return super().fit(steps, callbacks=callbacks, **(kwargs | {"shuffle": False}))
        finally:
            self._distribute_strategy, self._runner, self.train_function = strategy, None, None

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the means of the terms on other pairs; arguments as of `fit` and of Keras.

        Retrieval measures are those of `evaluate(model, split)` of this package.
        """
        self._check_adapted("evaluate")
        if kwargs.get("sample_weight") is not None:
            raise ValueError("evaluate received sample_weight; XGACMN weights all pairs equally")
        if isinstance(x, BatchSource):
            x = x.dataset(self)
        else:
            x, y = self._checked("evaluate", x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return codes, {"image": (n, code_dim), "text": (n, code_dim)}; arguments as of Keras."""
        self._check_adapted("predict")
        x = x.dataset(self) if isinstance(x, BatchSource) else self._checked("predict", x)[0]
        return super().predict(x, *args, **kwargs)

    def _validation_data(self, source: Any) -> Any:
        """Return validation data as Keras takes them."""
        if isinstance(source, BatchSource):
            return source.dataset(self)
        if isinstance(source, tuple) and len(source) == 2:
            return self._checked("validation_data", *source)
        return self._checked("validation_data", source)[0]

    def _checked(self, function: str, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Return features and labels as `fit` takes them; all but dicts is left to Keras.

        Raises:
            ValueError: of `model.checks`.
        """
        check_pairs(x, function)
        if isinstance(x, Mapping):
            for modality in MODALITIES:
                if modality in x:
                    dim = getattr(self.encoder, f"{modality}_map").input_dim
                    check_features(modality, x[modality], dim)
            layer = self.encoder.class_layer
            if layer is not None and y is not None:
                y = checked_labels(y, layer.num_classes, "has_label" in x)
            elif layer is not None and "label" in x:
                label = checked_labels(x["label"], layer.num_classes, "has_label" in x)
                x = {**x, "label": label}
        return x, y

    def _check_adapted(self, function: str) -> None:
        if not self.built:
            raise ValueError(f"{function} needs input maps; call model.adapt(training pairs) first")

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Run one step of Algorithm 1 inside Keras's own `fit`."""
        batch = self._batch(data)
        return self._means(batch, self.alternate(batch))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Return the means of the terms, without dropout and without updates."""
        batch = self._batch(data)
        generated = self._generate(batch, training=False)
        terms, total = self._discriminator_terms(batch, generated, training=False)
        if terms:
            terms["D/loss"] = total
        _, generator_terms = self._generator_loss(batch, generated)
        return self._means(batch, terms | generator_terms)

    def _means(
        self, batch: dict[str, tf.Tensor], terms: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        rows = tf.shape(batch["mapped_image"])[0]
        for mean in self.metrics:
            mean.update_state(terms[mean.name], sample_weight=rows)
        return {mean.name: mean.result() for mean in self.metrics}

    def _batch(self, data: Any) -> dict[str, tf.Tensor]:
        """Return a batch of Keras as `alternate` takes it."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError(
                "XGACMN weights all pairs equally; leave sample weights out of the data"
            )
        if not isinstance(x, Mapping):
            raise ValueError(
                "XGACMN takes a dict of features, {'image': (n, d_v), 'text': (n, d_t)}, and "
                f"labels as y or under 'label'; received {type(x).__name__}"
            )
        batch = dict(x) if y is None else {**x, "label": y}
        for modality in MODALITIES:
            if f"mapped_{modality}" not in batch:
                if modality not in batch:
                    raise ValueError(
                        f"the batch holds {', '.join(map(str, x))}; expected {modality!r} too"
                    )
                batch |= self.mapped(modality, batch[modality])
        if "label" not in batch and self.encoder.class_layer is not None:
            raise ValueError("the batch has no labels; give them as y or under 'label'")
        return batch

    # Use, saving and loading.

    def prepare(
        self, image: np.ndarray | tf.Tensor, text: np.ndarray | tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return what `alternate` takes, but for the labels, of raw features (n, d_v), (n, d_t)."""
        return self.mapped("image", image) | self.mapped("text", text)

    def mapped(self, modality: str, features: np.ndarray | tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the part of `prepare` that is of "image" or "text"."""
        layer = getattr(self.encoder, f"{modality}_map")
        check_features(modality, features, layer.input_dim)
        features = tf.cast(features, tf.float32)
        mapped = {f"mapped_{modality}": layer(features)}
        if layer.leaves_feature_space:
            mapped[f"{modality}_target"] = layer.target(features)
        return mapped

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return codes with the averaged weights, see `CommonSpaceEncoder.call`."""
        self._check_adapted("a call")
        return self.averaged(inputs)

    def encode_image(self, features: Any, output: str = "search") -> np.ndarray:
        """Return embeddings of images, (n, e) float32, of raw features (n, d_v).

        Args:
            features: an array or a tensor, n at least 1.
            output: "search", what searches rank by; "code", the codes (n, code_dim); or
                "posterior", the class posteriors (n, c); see `CommonSpaceEncoder.encode_image`.
        """
        self._check_adapted("encode_image")
        return self.averaged.encode_image(features, output)

    def encode_text(self, features: Any, output: str = "search") -> np.ndarray:
        """Return embeddings of texts, (n, e) float32; arguments as of `encode_image`."""
        self._check_adapted("encode_text")
        return self.averaged.encode_text(features, output)

    def save(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write the model with its optimizers to a `.keras` file, which `load_model` reads.

        Raises:
            ValueError: the file has another suffix, such as `.h5`, which could not be loaded.
        """
        if not os.fspath(filepath).endswith(".keras"):
            raise ValueError(f"save received {filepath}; expected a path that ends in .keras")
        super().save(filepath, *args, **kwargs)

    def export(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write the averaged encoders as a SavedModel, see `CommonSpaceEncoder.export`."""
        self._check_adapted("export")
        self.averaged.export(filepath, **kwargs)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        config = {**super().get_config(), **self.settings, "annealing": serialize(self.annealing)}
        if self.built:
            config["encoder"] = serialize(self.encoder)
        else:
            layer = self.encoder_settings["class_layer"]
            named = layer is None or isinstance(layer, str)
            config |= self.encoder_settings
            config["class_layer"] = layer if named else serialize(layer)
        if self._pair_loss_name != "l2":
            config["pair_loss"] = self._pair_loss_name
        if type(self.adversarial_loss) is not losses.CrossEntropy:
            config["adversarial_loss"] = serialize(self.adversarial_loss)
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        for name in ("encoder", "annealing", "adversarial_loss", "class_layer"):
            if isinstance(config.get(name), Mapping):
                config[name] = keras.saving.deserialize_keras_object(
                    config[name], custom_objects=custom_objects
                )
        # Models from before label smoothing were trained without it.
        return cls(**{"label_smoothing": 0.0} | config)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not hasattr(self, "g_optimizer"):
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "d_optimizer": serialize(self.d_optimizer),
            "g_optimizer": serialize(self.g_optimizer),
            "jit_compile": self.uses_xla,
            "run_eagerly": self.run_eagerly,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        for name in ("d_optimizer", "g_optimizer"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        self.compile(**config)
