"""Coverage-guided fuzzing of a reader: `python -m tests.fuzz KIND SECONDS`, needs `[fuzz]`.

`KIND` is one of `tests.readers.READERS`. Atheris changes the whole file byte by byte towards code
that it has not seen run yet; anything but the file's data or an `InputError` ends it with the
traceback, and with the file in `crash-<hash>`.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xgacmn_tf", "zipfile", "csv", "json"]):
    from tests.readers import READERS
    from xgacmn_tf.errors import InputError
    from xgacmn_tf.serve.errors import RequestError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=READERS)
    parser.add_argument("seconds", type=int)
    asked = parser.parse_args()
    logging.disable()
    name, write, read = READERS[asked.kind]
    path = Path(tempfile.mkdtemp()) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    corpus = Path(tempfile.mkdtemp())
    (corpus / "whole").write_bytes(path.read_bytes())

    def once(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except (InputError, RequestError):
            pass

    limits = [f"-max_total_time={asked.seconds}", "-rss_limit_mb=4096", "-timeout=5"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, "-max_len=65536"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
