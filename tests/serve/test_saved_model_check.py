"""SavedModels that a server must not load."""

import inspect
import re
import sys

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve import saved_model_check
from xgacmn_tf.serve.runners import load_checked
from xgacmn_tf.serve.saved_model_check import read_checked

TEXT = tf.TensorSpec([None], tf.string, name="text")


def save(folder, function) -> str:
    module = tf.Module()
    module.function = tf.function(function, input_signature=[TEXT])
    tf.saved_model.save(module, str(folder), {"serving_default": module.function})
    return folder


def edit(folder, change) -> None:
    path = folder / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved_model)
    path.write_bytes(saved_model.SerializeToString())


def read_files(text):
    return {"content": tf.map_fn(tf.io.read_file, text)}  # in the body of a loop


def write_file(text):
    tf.io.write_file("stolen.txt", text[0])
    return {"text": text}


def run_python(text):
    return {"text": tf.py_function(lambda value: value, [text], tf.string)}


def print_to_file(text):
    tf.print(text, output_stream="file://stolen.txt")
    return {"text": text}


def read_data_set(text):
    lines = tf.data.TextLineDataset(text)
    return {"lines": lines.reduce(tf.constant(""), lambda all, line: all + line)[None]}


def save_tensor(text):
    tf.raw_ops.SaveV2(prefix=text[0], tensor_names=["text"], shape_and_slices=[""], tensors=[text])
    return {"text": text}


def load_tensor(text):
    (value,) = tf.raw_ops.RestoreV2(
        prefix=text[0], tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.string]
    )
    return {"text": value}


def map_file(text):
    content = tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[9], memory_region_name="/etc/passwd")
    return {"content": content}


@pytest.mark.parametrize(
    "function, operation",
    [
        (read_files, "ReadFile"),
        (write_file, "WriteFile"),
        (run_python, "EagerPyFunc"),
        (print_to_file, "PrintV2"),
        (read_data_set, "TextLineDataset"),
        (save_tensor, "SaveV2"),
        (load_tensor, "RestoreV2"),
        (map_file, "ImmutableConst"),
    ],
)
def test_operations_that_reach_out_of_the_model(tmp_path, function, operation):
    folder = save(tmp_path / "1", function)
    with pytest.raises(InputError, match=rf"saved_model.pb holds operations .*{operation}"):
        read_checked(folder)


def test_a_function_that_takes_the_place_of_another(tmp_path):
    @tf.function(
        autograph=False,
        input_signature=[TEXT],
        experimental_attributes={"api_implements": "any", "api_preferred_device": "CPU"},
    )
    def other(text):
        return tf.io.read_file(text[0])

    def chosen(text):
        other.get_concrete_function().add_to_graph()
        return {"text": text}

    with pytest.raises(InputError, match="in place of others"):
        read_checked(save(tmp_path / "1", chosen))


def test_a_data_set_made_of_a_requests_own_rows(tmp_path):
    def through(function, text):
        found = tf.data.Dataset.range(tf.size(text, tf.int64)).map(lambda i: function(text[i]))
        found = found.ignore_errors().batch(2)
        return {"upper": found.reduce(text[:0], lambda all, some: tf.concat([all, some], 0))}

    read_checked(save(tmp_path / "1", lambda text: through(tf.strings.upper, text)))
    with pytest.raises(InputError, match="ReadFile"):
        read_checked(save(tmp_path / "2", lambda text: through(tf.io.read_file, text)))


def test_no_operation_that_is_given_a_file_or_an_address_is_let_through():
    """Their arguments' names tell, so one that a later TensorFlow adds is found."""
    tells = re.compile("file|path|dir|url|address|prefix|program|memory_region")
    harmless = re.compile("top_paths|direction")
    found = 0
    for operation in filter(str.isidentifier, dir(tf.raw_ops)):
        if operation[0].isupper():
            arguments = inspect.signature(getattr(tf.raw_ops, operation)).parameters
            if any(tells.search(name) and not harmless.search(name) for name in arguments):
                assert not saved_model_check._is_harmless(operation), operation
                found += 1
    assert found > 40


def test_a_table_filled_from_a_file(tmp_path):
    """Its initializer runs when the model is loaded, and the file may be any."""
    (tmp_path / "words.txt").write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        ),
        -1,
    )
    module = tf.Module()
    module.table = table
    module.function = tf.function(lambda text: {"row": table.lookup(text)}, input_signature=[TEXT])
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": module.function})
    with pytest.raises(InputError, match="InitializeTableFromTextFileV2"):
        read_checked(tmp_path / "1")


def test_an_operation_that_tensorflow_does_not_know(tmp_path):
    folder = save(tmp_path / "1", lambda text: {"upper": tf.strings.upper(text)})

    def rename(saved_model):
        for function in saved_model.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                node.op = node.op.replace("StringUpper", "RunShellCommand")

    edit(folder, rename)
    with pytest.raises(InputError, match="unknown to TensorFlow .*: RunShellCommand;"):
        read_checked(folder)


def test_what_only_saving_and_restoring_needs_is_harmless(tmp_path):
    """Tables, variables and loops are what models have; each brings functions to save them."""
    module = tf.Module()
    module.weights = tf.Variable([[2.0]])
    keys, values = tf.constant(["a"]), tf.constant([5], tf.int64)
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    module.counts = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)

    def function(text):
        row = tf.map_fn(module.table.lookup, text, fn_output_signature=tf.int64)
        return {"row": row + module.counts.lookup(text)}

    module.function = tf.function(function, input_signature=[TEXT])
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": module.function})
    found = read_checked(tmp_path / "1").meta_graphs[0].graph_def.library.function
    assert "SaveV2" in {node.op for function in found for node in function.node_def}
    model = load_checked(tmp_path / "1")
    outputs = model.signatures["serving_default"](text=tf.constant(["a", "b"]))
    assert outputs["row"].numpy().tolist() == [5, -1]


def test_files_that_are_no_saved_model(tmp_path, monkeypatch):
    folder = save(tmp_path / "1", lambda text: {"upper": tf.strings.upper(text)})
    path = folder / "saved_model.pb"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a SavedModel, or it is cut off"):
        read_checked(folder)
    path.write_bytes(whole)
    edit(folder, lambda saved_model: saved_model.meta_graphs[0].ClearField("object_graph_def"))
    with pytest.raises(InputError, match="is not a SavedModel of TensorFlow 2"):
        read_checked(folder)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is not a SavedModel of TensorFlow 2"):
        read_checked(folder)
    path.unlink()
    with pytest.raises(InputError, match="holds no saved_model.pb"):
        read_checked(folder)
    path.write_bytes(whole)
    monkeypatch.setattr(saved_model_check, "LARGEST_GRAPH_BYTES", len(whole) - 1)
    with pytest.raises(InputError, match="is larger than"):
        read_checked(folder)


def test_a_model_without_its_variables(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([2.0])
    module.function = tf.function(lambda text: {"weight": module.weight}, input_signature=[TEXT])
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": module.function})
    for file in (tmp_path / "1" / "variables").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_checked(tmp_path / "1")


def test_a_tokenizer_of_sentences(tmp_path, monkeypatch):
    tensorflow_text = pytest.importorskip("tensorflow_text", reason="pip install .[sentences]")
    tokenizer = tensorflow_text.FastBertTokenizer(["[UNK]", "red"], token_out_type=tf.int32)
    folder = save(tmp_path / "1", lambda text: {"tokens": tokenizer.tokenize(text).to_tensor()})
    outputs = load_checked(folder).signatures["serving_default"](text=tf.constant(["red x"]))
    assert outputs["tokens"].numpy().tolist() == [[1, 0]]
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(InputError, match=r"saved_model.pb .*; run `pip install 'tensorflow-text"):
        read_checked(folder)
