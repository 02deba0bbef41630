"""Searches pictures with words and texts with pictures: `python -m xgacmn_tf.search`.

    python -m xgacmn_tf.search --run_dir=runs/openclipart-1a2b3c4d "a red apple" guitar
        prints the ten nearest images of the run's data set to each, and writes a page of them.
    python -m xgacmn_tf.search --run_dir=RUN --image=photo.jpg
        the ten nearest texts to a picture.
    python -m xgacmn_tf.search --run_dir=RUN --gallery=photos/ "a red apple"
        the same in a folder of pictures, or a .txt file with one text a line.
    python -m xgacmn_tf.search --run_dir=RUN --evaluate
        precision at 10 over the test split, whatever is searched.

A gallery is indexed once. From then on it is only looked through for what is new.
"""

import os
import sys

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SEARCH_SPLITS
from xgacmn_tf.search.engines import KINDS
from xgacmn_tf.settings.command_line import configure_logging, parse, stop

# Not absl's global flags: those are the training command's.
VALUES = flags.FlagValues()
flags.DEFINE_string("run_dir", None, "run folder, as training prints it", flag_values=VALUES)
flags.DEFINE_string("queries", None, "file of queries in words, one a line", flag_values=VALUES)
flags.DEFINE_multi_string(
    "image", [], "picture to find texts for; can be given several times", flag_values=VALUES
)
flags.DEFINE_integer("k", 10, "how many to find", lower_bound=1, flag_values=VALUES)
flags.DEFINE_string("category", None, "find only items of this category", flag_values=VALUES)
flags.DEFINE_string(
    "gallery",
    None,
    "what is searched: a folder of pictures, a .txt file with one text a line, or an .npz file "
    "with features; by default the run's data set, see --search_split",
    flag_values=VALUES,
)
flags.DEFINE_enum(
    "search_split",
    None,
    SEARCH_SPLITS,
    "items of the run's data set that are searched: all of them or its test split; by default all, "
    "or the test split where the training split is streamed or all features take more than 1 GiB",
    flag_values=VALUES,
)
flags.DEFINE_boolean(
    "captions",
    True,
    "compare queries with both the image and the caption of each item, where the gallery has both "
    "and the run has item embeddings; --nocaptions: with the other modality alone",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "index_dir",
    None,
    "folder that keeps the indexed gallery for the next search; by default one in RUN/indexes",
    flag_values=VALUES,
)
flags.DEFINE_enum(
    "on_bad_image",
    "skip",
    ("refuse", "skip"),
    "what happens at a picture of the gallery that cannot be used: an error, or it is left out and "
    "reported",
    flag_values=VALUES,
)
flags.DEFINE_enum(
    "index",
    "auto",
    KINDS,
    "how embeddings are searched: exactly; by FAISS, which takes flat or ivf by size if it is not "
    "told which; by a Milvus server. auto is exact up to 100,000 items",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "milvus_uri",
    None,
    "address of the Milvus server, such as http://localhost:19530; where it asks for a token or "
    "user:password, that stands in the environment variable MILVUS_TOKEN",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "similarity",
    None,
    "what ranks: posterior, cosine or dot; by default what the run was chosen by",
    flag_values=VALUES,
)
flags.DEFINE_string("page", None, "page to write; by default RUN/search.html", flag_values=VALUES)
flags.DEFINE_bool("open", False, "open the page in the browser", flag_values=VALUES)
flags.DEFINE_bool(
    "evaluate", False, "print precision at 10 over the run's test split", flag_values=VALUES
)


def main(argv: list[str]) -> None:
    """Runs the command; a mistake ends the program with one line and status 2."""
    words = parse(VALUES, argv, __doc__, takes_words=True)
    configure_logging()
    try:
        _run(words)
    except InputError as error:
        stop(str(error))
    except BrokenPipeError:  # Whoever reads has seen enough: `head`, say. The page is there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from what it has kept", status=130)


def _run(words: list[str]) -> None:
    if not VALUES.run_dir:
        raise InputError("--run_dir=RUN must be given, the folder of a finished run. See --help")
    if VALUES.milvus_uri and VALUES.index != "milvus":
        raise InputError("--milvus_uri goes with --index=milvus")
    if VALUES.gallery and VALUES.search_split:
        raise InputError(
            "--search_split chooses items of the run's data set and --gallery names another "
            "gallery; give one of them"
        )
    if not (words or VALUES.queries or VALUES.image or VALUES.evaluate):
        raise InputError('nothing to search for: give words ("a red apple") or --image=PICTURE')
    # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
    from xgacmn_tf.search.command import Search, search

    search(Search(words=words, **VALUES.flag_values_dict()))


if __name__ == "__main__":
    main(sys.argv)
