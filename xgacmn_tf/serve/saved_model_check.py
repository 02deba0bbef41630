"""Checks of a SavedModel, which is a program, before TensorFlow loads it.

Operations that reach out of the model are rejected: those that read or write files, open
connections, run Python or end the process. So are operations that TensorFlow does not know, except
for the tokenizer of TensorFlow Text, which is imported for models that use it.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from xgacmn_tf.errors import InputError, one_line

# A protocol buffer cannot be larger than twice this; our exports have a few hundred kilobytes.
LARGEST_GRAPH_BYTES = 2**30

# By what their names have in common. Not obvious: `Print` can write to a file, the `Debug`
# operations and `Copy` to a file or an address, `Proto`, `Vocab` and `Immutable` read one that an
# attribute names; saving and restoring would let a request choose the file.
_REFUSED = re.compile(
    "PyFunc|File|Reader|Dataset|Iterator|Save|Restore|Checkpoint|LoadAndRemap|Summary|ImportEvent"
    "|RecordInput|Debug|^Copy|Print|Proto|Vocab|Immutable|FixedUnigram|Send|Recv|Remote|Collective"
    "|Nccl|TPU|Infeed|Outfeed|Worker|Minibatch|Abort"
)
# Data sets of the model's own tensors, not of files; exports decode images with them.
_IN_MEMORY = re.compile(
    "(Range|Tensor|Zip|Map|ParallelMap|Filter|IgnoreErrors|Batch|ParallelBatch|Take|Concatenate"
    "|Prefetch|Options|Reduce)Dataset(V2)?|AnonymousIteratorV3|MakeIterator"
    "|IteratorGetNext(AsOptional)?"
)
# Attributes of functions that TensorFlow may call where no other function names them.
_REPLACING = {"api_implements", "api_preferred_device"}
# TensorFlow Text's tokenizer of sentences, which TensorFlow Serving has too.
_TOKENIZER = {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets"}


def read_checked(folder: Path) -> saved_model_pb2.SavedModel:
    """Return the content of `saved_model.pb`, after checking that it is safe to load and run.

    Raises:
      InputError: there is none, it is too large or not a SavedModel of TensorFlow 2, or it holds
        operations that a server does not run.
    """
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise InputError(f"{folder} holds no saved_model.pb; is it an exported version?")
    if path.stat().st_size > LARGEST_GRAPH_BYTES:
        raise InputError(f"{path} is larger than {LARGEST_GRAPH_BYTES:,} bytes")
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(
            f"{path} is not a SavedModel, or it is cut off; export it again"
        ) from error
    # Whatever else there is, TensorFlow loads as TensorFlow 1 did, by running nodes of the graph.
    graphs = saved_model.meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        raise InputError(f"{path} is not a SavedModel of TensorFlow 2")
    if any(_REPLACING & f.attr.keys() for f in graphs[0].graph_def.library.function):
        raise InputError(
            f"{path} holds functions that TensorFlow may run in place of others, so that this "
            "server cannot tell what a request runs; export the model again"
        )
    operations = set(_operations(graphs[0]))
    refused = sorted(op for op in operations - _TOKENIZER if not _is_harmless(op))
    if refused:
        raise InputError(
            f"{path} holds operations that touch files or other processes, run Python, or are "
            f"unknown to TensorFlow {tf.__version__}: {', '.join(refused[:10])}; this server does "
            "not run them"
        )
    if operations & _TOKENIZER:
        try:
            import tensorflow_text  # noqa: F401 - TensorFlow knows its operations from then on
        except Exception as error:  # Missing, or built for another version of TensorFlow.
            raise InputError(
                f"{path} reads sentences with operations of TensorFlow Text, which cannot be "
                f"imported ({one_line(error)}); run `pip install 'tensorflow-text>=2.21,<2.22'`, "
                "which has no build for Windows"
            ) from error
    return saved_model


def _is_harmless(operation: str) -> bool:
    is_known = hasattr(tf.raw_ops, operation)
    return is_known and (not _REFUSED.search(operation) or bool(_IN_MEMORY.fullmatch(operation)))


def _operations(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yield the operations of all functions that loading the model or a request can run.

    These are the functions that its objects name, and those that they call. The functions that save
    and restore the model are left out, because TensorFlow restores variables by itself.
    """
    bodies = {f.signature.name: f.node_def for f in graph.graph_def.library.function}
    waiting = set(graph.object_graph_def.concrete_functions)
    for node in graph.object_graph_def.nodes:
        waiting.update(node.function.concrete_functions)
        waiting.add(node.bare_concrete_function.concrete_function_name)
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        done.add(name)
        for node in bodies.get(name, ()):
            if node.op not in bodies:
                yield node.op
            waiting.update({node.op, *_called(node.attr.values())} & bodies.keys() - done)


def _called(attributes: Iterable[Any]) -> Iterator[str]:
    for attribute in attributes:
        yield attribute.func.name
        yield from (function.name for function in attribute.list.func)
