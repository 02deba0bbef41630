"""A Milvus server for tests: one that is named, or one that the package `milvus` starts."""

import importlib.util
import os
import socket

import pytest


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory):
    """Where a real server answers; it stops with the tests if they started it."""
    pytest.importorskip("pymilvus", reason="Milvus is optional: pip install xgacmn_tf[milvus]")
    if uri := os.environ.get("XGACMN_MILVUS_URI"):
        yield uri
        return
    if importlib.util.find_spec("milvus") is None:
        pytest.skip(
            "no Milvus server: XGACMN_MILVUS_URI names one, or `pip install milvus` has one"
        )
    with socket.socket() as probe:
        # Its etcd has one port only, and where that is taken the start takes minutes to fail.
        if probe.connect_ex(("127.0.0.1", 2380)) == 0:
            pytest.skip("a Milvus server runs here already: name it by XGACMN_MILVUS_URI")
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(str(tmp_path_factory.mktemp("milvus")))
    server.start()
    yield f"http://127.0.0.1:{server.listen_port}"
    server.stop()
