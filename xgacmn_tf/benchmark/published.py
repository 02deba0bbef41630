"""The paper's Tables 1 and 2: mAP, image → text and text → image, as printed.

Its averages are left out: they follow from these, and one of them is a misprint (SM at 2173/693).
"""

from __future__ import annotations

from collections.abc import Mapping

Row = tuple[float, float]

# Data set (`PairedDataset.name`) → system → (i2t, t2i). Shallow features on Wikipedia.
PUBLISHED: Mapping[str, Mapping[str, Row]] = {
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
