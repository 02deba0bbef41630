"""Names that both the settings and the code use, so that neither has to import the other."""

import re

MODALITIES = ("image", "text")
# What a query of each modality finds, and what the other side of a pair is.
OTHER = {"text": "image", "image": "text"}
# Image queries in a gallery of texts, and text queries in a gallery of images.
DIRECTIONS = ("i2t", "t2i")
# How a query and a gallery item are compared: always the inner product of two representations.
CODE_SIMILARITIES = ("posterior", "cosine", "dot")
# Of which the last takes item embeddings as well.
SIMILARITIES = (*CODE_SIMILARITIES, "item")
# Items of a data set that are searched; "all" are those of every split.
SEARCH_SPLITS = ("all", "test")
# How features are brought to the encoders' scale, see `input_maps`.
MAP_NAMES = (
    *("auto", "zscore", "hellinger", "chi2", "tfidf", "unit"),
    *("rbf", "rank", "whiten", "none"),
)
# How "auto" chooses: by leave-one-out posteriors, or by the kind of features alone.
MAP_CHOICES = ("evidence", "rule")
# Width and number of components of the kernel maps, for X-GACMN and every compared system that
# uses them.
CHI2_GAMMA = 2.0
CHI2_COMPONENTS = 500
RBF_GAMMA = 1.0
RBF_COMPONENTS = 1000
# Hidden units of D_I and D_T. The paper's 2,000 double the time of a step and change no score.
FEATURE_DISCRIMINATOR_HIDDEN = 500
# With fewer training pairs no validation split is held out by default, because a fifth of them
# would choose an epoch by chance, and input maps and the number of steps have rules of their own.
FEW_PAIRS = 250
# --model of a method in a Python file of the user's own.
OWN_METHOD = re.compile(r"(?P<path>.+\.py):(?P<name>[A-Za-z_]\w*)$")
XGACMN = "xgacmn"
# The compared systems, in the order of the paper's Table 1, then what is beyond the paper.
PAPER = (
    "cca",
    "cca_3v",
    "lcfs",
    "jrl",
    "jfssl",
    "pacmr",
    "sm",
    "spgcm",
    "mdbn",
    "bimodal_ae",
    "corr_ae",
    "cmdn",
    "acmr",
)
BEYOND = ("raw", "kernel_posteriors", "dscmr", "supcon", "two_tower")
SYSTEMS = (*PAPER, *BEYOND)
# Those that choose an epoch on validation pairs, and those with class posteriors, which validation
# pairs calibrate.
CHOOSE_AN_EPOCH = frozenset(
    {"bimodal_ae", "corr_ae", "cmdn", "acmr", "dscmr", "supcon", "two_tower"}
)
GIVE_POSTERIORS = frozenset({"jrl", "pacmr", "sm", "acmr", "kernel_posteriors"})
# The others learn from the whole training split.
HOLD_OUT = CHOOSE_AN_EPOCH | GIVE_POSTERIORS


def model_name(model: str) -> str:
    """Return the name of a model in paths and on servers: "pls_SYSTEM" for "a/pls.py:SYSTEM"."""
    own = OWN_METHOD.match(model)
    if own is None:
        return model
    stem = re.split(r"[/\\]", own["path"])[-1].removesuffix(".py")
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{stem}_{own['name']}")
