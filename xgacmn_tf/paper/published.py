"""The scores that the paper prints in its Tables 1 to 3: mAP, image → text and text → image.

Its averages are left out: they follow from these, and two of them are misprints (SM at 2173/693
with shallow features, Bimodal-AE on Pascal Sentence).
"""

from __future__ import annotations

from collections.abc import Mapping

Scores = tuple[float, float]

# Data set (`PairedDataset.name`) → system → (i2t, t2i). Shallow features on Wikipedia.
PUBLISHED: Mapping[str, Mapping[str, Scores]] = {
    "wikipedia_1300": {
        "cca": (0.255, 0.185),
        "mdbn": (0.149, 0.150),
        "bimodal_ae": (0.236, 0.208),
        "spgcm": (0.265, 0.207),
        "sm": (0.260, 0.242),
        "cca_3v": (0.275, 0.224),
        "lcfs": (0.279, 0.214),
        "corr_ae": (0.280, 0.242),
        "jrl": (0.344, 0.277),
        "pacmr": (0.318, 0.224),
        "jfssl": (0.306, 0.228),
        "acmr": (0.316, 0.227),
        "xgacmn": (0.348, 0.282),
    },
    "wikipedia_2173": {
        "spgcm": (0.254, 0.203),
        "sm": (0.255, 0.226),
        "lcfs": (0.266, 0.209),
        "pacmr": (0.309, 0.220),
        "acmr": (0.310, 0.223),
        "xgacmn": (0.326, 0.241),
    },
}

# The same for 4096-D VGG-19 features of the images and 1000-D bags of words.
PUBLISHED_DEEP: Mapping[str, Mapping[str, Scores]] = {
    "wikipedia_1300": {
        "cca": (0.267, 0.222),
        "mdbn": (0.204, 0.183),
        "bimodal_ae": (0.314, 0.290),
        "spgcm": (0.390, 0.362),
        "sm": (0.475, 0.389),
        "cca_3v": (0.437, 0.383),
        "lcfs": (0.455, 0.398),
        "corr_ae": (0.402, 0.395),
        "jrl": (0.453, 0.400),
        "pacmr": (0.468, 0.429),
        "jfssl": (0.428, 0.396),
        "cmdn": (0.488, 0.427),
        "acmr": (0.477, 0.435),
        "xgacmn": (0.490, 0.456),
    },
    "wikipedia_2173": {
        "spgcm": (0.351, 0.327),
        "sm": (0.479, 0.384),
        "lcfs": (0.455, 0.417),
        "pacmr": (0.478, 0.433),
        "acmr": (0.476, 0.431),
        "xgacmn": (0.501, 0.435),
    },
    "pascal_sentence_900": {
        "cca": (0.363, 0.219),
        "mdbn": (0.477, 0.424),
        "bimodal_ae": (0.456, 0.470),
        "lcfs": (0.442, 0.357),
        "corr_ae": (0.489, 0.444),
        "jrl": (0.504, 0.489),
        "cmdn": (0.534, 0.534),
        "acmr": (0.535, 0.543),
        "xgacmn": (0.532, 0.547),
    },
    "nuswide_10k": {
        "cca": (0.189, 0.188),
        "mdbn": (0.201, 0.259),
        "bimodal_ae": (0.327, 0.369),
        "lcfs": (0.383, 0.346),
        "corr_ae": (0.366, 0.417),
        "jrl": (0.426, 0.376),
        "cmdn": (0.492, 0.515),
        "acmr": (0.447, 0.505),
        "xgacmn": (0.501, 0.526),
    },
}

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
