"""`emoji`: the emoji of a font with their names and keywords, shipped with this package.

README.md in this folder describes the data and their sources;
`tools/rebuild_emoji.py` of the repository writes the files.
"""

from pathlib import Path

from xgacmn_tf.datasets.bundled import TEXTS, Bundled

# The texts of the second protocol lack the words that name a group, such as "flag" and "food".
WITHOUT_GROUP_WORDS = "texts_without_group_words.npz"
EMOJI = Bundled(
    "emoji",
    Path(__file__).parent / "data",
    {"all_words": TEXTS, "without_group_words": WITHOUT_GROUP_WORDS},
    held_out=True,
)
