"""The scores that the paper prints in its Tables 1 to 3: mAP, image → text and text → image.

Its averages are left out: they follow from these, and two of them are misprints (SM at 2173/693
with shallow features, Bimodal-AE on Pascal Sentence).
"""

from __future__ import annotations

from collections.abc import Mapping

Scores = tuple[float, float]


def _parse(table: str) -> dict[str, dict[str, Scores]]:
    """Return data set → system → scores of a table with two columns per data set."""
    header, *lines = (line.split() for line in table.strip().splitlines())
    scores: dict[str, dict[str, Scores]] = {name: {} for name in header[1:]}
    for system, *values in lines:
        for name, i2t, t2i in zip(header[1:], values[::2], values[1::2], strict=True):
            if i2t != "-":
                scores[name][system] = float(i2t), float(t2i)
    return scores


# Data set (`PairedDataset.name`) → system → (i2t, t2i). Shallow features on Wikipedia.
PUBLISHED: Mapping[str, Mapping[str, Scores]] = _parse("""
system      wikipedia_1300      wikipedia_2173
cca         .255 .185           - -
mdbn        .149 .150           - -
bimodal_ae  .236 .208           - -
spgcm       .265 .207           .254 .203
sm          .260 .242           .255 .226
cca_3v      .275 .224           - -
lcfs        .279 .214           .266 .209
corr_ae     .280 .242           - -
jrl         .344 .277           - -
pacmr       .318 .224           .309 .220
jfssl       .306 .228           - -
acmr        .316 .227           .310 .223
xgacmn      .348 .282           .326 .241
""")

# The same for 4096-D VGG-19 features of the images and 1000-D bags of words.
PUBLISHED_DEEP: Mapping[str, Mapping[str, Scores]] = _parse("""
system      wikipedia_1300      wikipedia_2173      pascal_sentence_900 nuswide_10k
cca         .267 .222           - -                 .363 .219           .189 .188
mdbn        .204 .183           - -                 .477 .424           .201 .259
bimodal_ae  .314 .290           - -                 .456 .470           .327 .369
spgcm       .390 .362           .351 .327           - -                 - -
sm          .475 .389           .479 .384           - -                 - -
cca_3v      .437 .383           - -                 - -                 - -
lcfs        .455 .398           .455 .417           .442 .357           .383 .346
corr_ae     .402 .395           - -                 .489 .444           .366 .417
jrl         .453 .400           - -                 .504 .489           .426 .376
pacmr       .468 .429           .478 .433           - -                 - -
jfssl       .428 .396           - -                 - -                 - -
cmdn        .488 .427           - -                 .534 .534           .492 .515
acmr        .477 .435           .476 .431           .535 .543           .447 .505
xgacmn      .490 .456           .501 .435           .532 .547           .501 .526
""")

# Table 3, mAP@50 on Wikipedia: flag file of the setting → (i2t, t2i); printed as t2i, i2t.
PUBLISHED_ABLATION: Mapping[str, Scores] = {
    "ablation_without_d_c": (0.477, 0.615),
    "ablation_without_d_i_d_t": (0.482, 0.618),
    "ablation_without_a_softmax": (0.188, 0.218),
    "ablation_without_l2": (0.472, 0.632),
    "ablation_with_softmax": (0.467, 0.598),
    "wikipedia_shallow_2173": (0.483, 0.640),
}


def published(
    dataset: str, image_features: str | None, text_features: str | None
) -> Mapping[str, Scores]:
    """Return system → scores of Tables 1 and 2 for these features; empty if the paper has others.

    Args:
      dataset: `PairedDataset.name`.
      image_features, text_features: settings of `Config`; None for the data set's own features.
    """
    if image_features is text_features is None:
        return PUBLISHED.get(dataset, {})
    if (image_features, text_features) == ("vgg19", "bow"):
        return PUBLISHED_DEEP.get(dataset, {})
    return {}
