"""Precision at 10 of a run over its whole test split, each image once, as searches have it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.retrieval import evaluate_retrieval
from xgacmn_tf.io import array_files
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.runs.trained import TrainedRun


@dataclass(frozen=True)
class Precision:
    """Mean share of relevant items among the first `depth`; relevant are those that share a label.

    Attributes:
      image_to_text, text_to_image: in [0, 1]. chance: of an order drawn at random, mean of both.
      depth: 10, or the number of images if that is smaller.
      images, texts: how many there are; all of them are queries, and the gallery of the others.
      similarity: what ranked.
    """

    image_to_text: float
    text_to_image: float
    chance: float
    depth: int
    images: int
    texts: int
    similarity: str

    def __str__(self) -> str:
        return (
            f"P@{self.depth} over the test split ({self.images:,} images, {self.texts:,} texts, "
            f"{self.similarity}): "
            f"image → text {self.image_to_text:.3f}, text → image {self.text_to_image:.3f}; "
            f"by chance {self.chance:.3f}"
        )


def precision_of_test_split(run: TrainedRun, depth: int = 10) -> Precision:
    """Ranks the run's own test codes, as its evaluation did.

    Raises:
      InputError: the run's embeddings.npz is missing or damaged.
    """
    path = run.folder.embeddings
    if not path.is_file():
        raise InputError(f"{path}: there is no such file, and --evaluate reads it; train again")

    needed = {*MODALITIES, "label"}
    if run.similarity == "item":
        needed |= {f"search_{modality}" for modality in MODALITIES}

    def check(names: Collection[str]) -> None:
        if not set(names) >= needed:
            raise InputError(f"{path}: expected {', '.join(sorted(needed))}; train again")

    arrays = array_files.read(path, check)
    label = arrays["label"]
    image, text = (run.from_stored(arrays, modality) for modality in MODALITIES)
    # Identical images have identical codes.
    identity = Identity.of(arrays["image"], arrays["text"])
    result = evaluate_retrieval(
        image, text, label, identity=identity, deduplicated=True, max_scope=len(label)
    )
    scope = result.precision_scope
    images, texts = (len(result.per_query[way]["AP"]) for way in ("i2t", "t2i"))
    depth = min(depth, images)
    return Precision(
        float(scope["i2t"][depth - 1]),
        float(scope["t2i"][depth - 1]),
        # All of the gallery, in whatever order.
        float(scope["i2t"][-1] + scope["t2i"][-1]) / 2,
        depth,
        images,
        texts,
        run.similarity,
    )
