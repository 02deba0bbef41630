"""Options of the search service."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from xgacmn_tf.search.engines import KINDS
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class ServiceOptions(Section):
    """The run, its gallery and index, the address, and limits."""

    run: str | None = setting(
        None, "run folder; the highest version in RUN/models is served", common=True
    )
    gallery: tuple[str, ...] = setting(
        (),
        ".npz gallery files to search, with features; by default the exported gallery",
        common=True,
    )
    index: str = setting(
        "exact",
        "search engine",
        choices=KINDS,
        common=True,
    )
    milvus_uri: str | None = setting(
        None,
        "address of the Milvus server, such as http://HOST:19530; the environment variable "
        "MILVUS_TOKEN holds its token or USER:PASSWORD",
    )
    milvus_collection: str | None = setting(
        None,
        "prefix of the names of the Milvus collections; by default xgacmn_ and a hash of the path "
        "of the written items",
    )
    items_dir: str | None = setting(
        None, "folder of written items, used by one service at a time; by default RUN/items"
    )
    encoder: str | None = setting(
        None,
        "TensorFlow Serving that encodes, grpc://HOST:8500/NAME or http[s]://HOST:8501/NAME; by "
        "default the model is loaded into this process",
        common=True,
    )
    encoder_timeout: float = setting(10.0, "seconds until a remote encoding fails", minimum=0.01)
    host: str = setting(
        "127.0.0.1", "address to listen on; other than loopback requires an API key", common=True
    )
    port: int = setting(8080, "port; 0 for any free one", minimum=0, maximum=65535, common=True)
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "host names that clients may address; by default the loopback names, or any name where "
        "--host is not loopback",
    )
    api_key_file: str | None = setting(
        None,
        "file with the API key; by default the environment variable XGACMN_API_KEY",
        common=True,
    )
    max_body_bytes: int = setting(16 * 2**20, "maximum size of a request's body", minimum=1024)
    max_pixels: int = setting(25_000_000, "maximum number of pixels of an image", minimum=1)
    max_k: int = setting(1000, "maximum number of hits of a search", minimum=1)
    max_concurrent: int = setting(
        64, "maximum number of requests at a time; others get status 503", minimum=1
    )
    threads: int = setting(
        8, "number of requests that are computed at a time", minimum=1, common=True
    )

    @property
    def items_folder(self) -> Path:
        """The folder of the written items."""
        return Path(self.items_dir or Path(str(self.run)) / "items")
