"""`openclipart`: public-domain clip art with titles and keywords, shipped with this package.

README.md in this folder describes the data and their source;
`tools/rebuild_openclipart.py` of the repository writes the files.
"""

from pathlib import Path

from xgacmn_tf.datasets.bundled import TEXTS, Bundled

OPENCLIPART = Bundled("openclipart", Path(__file__).parent / "data", {"all_words": TEXTS})
