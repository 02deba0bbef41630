"""Search service over a run: `xgacmn serve`.

    xgacmn serve --run=runs/shop-1a2b3c4d
        searches the gallery of the highest version in RUN/models and the items that clients write,
        at http://127.0.0.1:8080; the page there searches from a browser, /docs lists the routes.
    xgacmn serve --run=RUN --gallery=items.npz --index=faiss
        another gallery, and an approximate index for large ones.
    xgacmn serve --run=RUN --encoder=grpc://localhost:8500/xgacmn
        encodes in TensorFlow Serving.
    xgacmn serve --run=RUN --host=0.0.0.0 --api_key_file=key.txt
        can be reached from other computers, with the key in the header X-API-Key.

It prints `serving: http://HOST:PORT` once the gallery is encoded. SIGHUP switches to the highest
version, as `POST /reload` does. docs/service.md has the routes.
"""

from __future__ import annotations

from xgacmn_tf.errors import InputError
from xgacmn_tf.export.versions import latest_version
from xgacmn_tf.serve.options import ServiceOptions
from xgacmn_tf.settings.command_line import read_settings, stop


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        options = read_settings(ServiceOptions, argv, str(__doc__), "run")
        # A wrong folder ends the command at once; TensorFlow takes seconds to load.
        latest_version(str(options.run))
        try:
            from xgacmn_tf.serve.server import serve
        except ModuleNotFoundError as error:
            raise InputError(f'{error}; it comes with pip install "xgacmn_tf[serve]"') from error
        serve(options)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted", status=130)
