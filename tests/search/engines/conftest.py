"""Milvus for tests: a server that is named, or Milvus Lite in this process."""

import os

import pytest


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory):
    """The address of a server, or a file of Milvus Lite."""
    pytest.importorskip("pymilvus", reason="Milvus is optional: pip install xgacmn_tf[milvus]")
    if uri := os.environ.get("XGACMN_MILVUS_URI"):
        return uri
    pytest.importorskip("milvus_lite", reason="pip install milvus-lite, or name a server by "
                        "XGACMN_MILVUS_URI")  # fmt: skip
    return str(tmp_path_factory.mktemp("milvus") / "galleries.db")
