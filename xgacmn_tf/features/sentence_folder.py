"""Folders of sentence-transformers models with a BERT, checked before anything is loaded.

A folder in Hugging Face's format holds config.json, model.safetensors, vocab.txt or tokenizer.json,
tokenizer_config.json, modules.json, sentence_bert_config.json and the pooling module's config.json.
Nothing in it is executed.
"""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import file_hash, readable
from xgacmn_tf.io.files import read_json

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_MODULES = "modules.json"
_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_SENTENCE_CONFIG = "sentence_bert_config.json"
_VOCABULARY = "vocab.txt"
_POOLING = {"mean_tokens": "mean", "cls_token": "cls", "mean": "mean", "cls": "cls"}
# What KerasHub's BERT is built for, by names of config.json.
_EXPECTED = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}
_SUPPORTED_MODULES = ["Transformer", "Pooling", "Normalize"]
_EXPECTED_FILES = (
    "a sentence-transformers model in Hugging Face's format, saved with "
    "save_pretrained(safe_serialization=True)"
)
_SIZES = (
    "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size",
    "max_position_embeddings",
)  # fmt: skip
_LARGEST_TEXT_FILE = 2**26
# Size of the smallest parameters, those in half precision.
_BYTES = 2


class SentenceModel(NamedTuple):
    """The description of a model.

    Attributes:
        folder: where it lies.
        dim: number of features.
        max_tokens: maximum number of tokens of a text, [CLS] and [SEP] among them.
        pooling: "mean" of the tokens' states, or "cls", the first token's state.
        lowercase: whether the tokenizer reads lower-case letters without accents.
        lowercase_first: whether texts become lower-case before that, with their accents.
        vocabulary: the word pieces in the order of their numbers.
    """

    folder: Path
    dim: int
    max_tokens: int
    pooling: str
    lowercase: bool
    lowercase_first: bool
    vocabulary: list[str]


def read_sentence_model(folder: Path) -> SentenceModel:
    """Read the description of the model in a folder.

    Args:
        folder: in Hugging Face's format, or as KerasHub's `save_to_preset` wrote all-MiniLM-L6-v2
            for extractors of earlier versions.

    Raises:
        InputError: a file is missing or damaged, or the model is of an unsupported form.
    """
    with _readable(folder):
        return _read_model(folder)


def _read_model(folder: Path) -> SentenceModel:
    config = _read(folder, _CONFIG)
    if "registered_name" in config:
        return _read_preset(folder, config["config"])
    for name, expected in _EXPECTED.items():
        # Old files leave out all but the first.
        default = None if name == "model_type" else expected
        _expect(folder, _CONFIG, name, config.get(name, default), [expected])
    _check_file(folder / WEIGHTS)
    parameters = _parameters(config)
    if parameters * _BYTES > (folder / WEIGHTS).stat().st_size:
        raise InputError(
            f"{folder / WEIGHTS}: expected the {parameters:,} parameters that {_CONFIG} describes, "
            "found a smaller file; download the model again"
        )
    sentence = _read(folder, _SENTENCE_CONFIG, {})
    longest = config["max_position_embeddings"]
    max_tokens = sentence.get("max_seq_length") or longest
    if not isinstance(max_tokens, int) or not 3 <= max_tokens <= longest:
        raise InputError(
            f"{folder / _SENTENCE_CONFIG}: max_seq_length is {max_tokens!r}; expected a number of "
            f"tokens from 3 to the network's {longest}"
        )
    tokenizer = _read(folder, _TOKENIZER, {})
    vocabulary = _vocabulary(folder, tokenizer)
    if len(vocabulary) > config["vocab_size"]:
        raise InputError(
            f"{folder}: the tokenizer has {len(vocabulary)} word pieces, and vocab_size of "
            f"{_CONFIG} is {config['vocab_size']}; expected files of the same model"
        )
    return SentenceModel(
        folder,
        int(config["hidden_size"]),
        max_tokens,
        _pooling(folder),
        _lowercase(folder, tokenizer),
        bool(sentence.get("do_lower_case", False)),
        vocabulary,
    )


def _parameters(config: Any) -> int:
    """Return the number of parameters of the embeddings and of the layers' matrices."""
    width, layers, inner, words, positions = sizes = [config[name] for name in _SIZES]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"the sizes of {_CONFIG} are {sizes}")
    return (words + positions) * width + layers * (4 * width + 2 * inner) * width


def model_hash(folder: Path) -> str:
    """SHA-256 (hex) over the files of a model that its features depend on.

    Raises:
        InputError: the folder holds no model.
    """
    _text(folder, _CONFIG)
    digest = hashlib.sha256()
    with _readable(folder):
        for name in _files(folder):
            digest.update(f"{name}\0{file_hash(folder / name)}\0".encode())
    return digest.hexdigest()


def _readable(folder: Path) -> contextlib.AbstractContextManager[None]:
    return readable(folder, "a sentence-transformers model", _EXPECTED_FILES)


def copy_model(folder: Path, target: Path) -> None:
    """Copy the files of a model that its features depend on."""
    for name in _files(folder):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, target / name)


def _files(folder: Path) -> list[str]:
    names = [
        _CONFIG, WEIGHTS, _MODULES, _SENTENCE_CONFIG, _TOKENIZER_CONFIG, _TOKENIZER, _VOCABULARY,
        _pooling_config(folder),
    ]  # fmt: skip
    return [name for name in names if (folder / name).is_file()]


def _pooling_config(folder: Path) -> str:
    """Return the name of the pooling module's configuration file."""
    modules = _read(folder, _MODULES, [])
    types = [str(module["type"]).rpartition(".")[2] for module in modules]
    paths = [str(module.get("path") or "") for module in modules]
    is_known = types in (_SUPPORTED_MODULES[:2], _SUPPORTED_MODULES)
    if not is_known or paths[0] or Path(paths[1]).name != paths[1]:
        shown = [f"{name} in {path!r}" for name, path in zip(types, paths, strict=True)]
        raise InputError(
            f"{folder / _MODULES}: the modules are {', '.join(shown) or 'missing'}; expected "
            "Transformer in the folder itself, Pooling in a folder in it, and possibly Normalize"
        )
    return f"{paths[1]}/{_CONFIG}"


def _pooling(folder: Path) -> str:
    name = _pooling_config(folder)
    config, prefix = _read(folder, name), "pooling_mode_"
    modes = [key.removeprefix(prefix) for key in config if key.startswith(prefix) and config[key]]
    modes += [config["pooling_mode"]] if "pooling_mode" in config else []
    _expect(folder, name, "pooling mode", modes[0] if len(modes) == 1 else modes, _POOLING)
    return _POOLING[modes[0]]


def _lowercase(folder: Path, tokenizer: Any) -> bool:
    """Return whether the tokenizer lowers letters and removes accents, which must go together."""
    config, normalizer = _read(folder, _TOKENIZER_CONFIG, {}), tokenizer.get("normalizer") or {}

    def setting(name: str, name_in_tokenizer: str, default: bool | None) -> bool | None:
        value = config.get(name, normalizer.get(name_in_tokenizer, default))
        _expect(folder, _TOKENIZER_CONFIG, name, value, [True, False, None])
        return value

    lowercase = bool(setting("do_lower_case", "lowercase", True))
    accents = setting("strip_accents", "strip_accents", None)
    _expect(folder, _TOKENIZER_CONFIG, "strip_accents", accents, [None, lowercase])
    chinese = setting("tokenize_chinese_chars", "handle_chinese_chars", True)
    _expect(folder, _TOKENIZER_CONFIG, "tokenize_chinese_chars", chinese, [True])
    return lowercase


def _vocabulary(folder: Path, tokenizer: Any) -> list[str]:
    """Return the word pieces from tokenizer.json, or from vocab.txt if there is none."""
    if tokenizer:
        model = tokenizer.get("model", {})
        _expect(folder, _TOKENIZER, "the type of its model", model.get("type"), ["WordPiece"])
        _expect(folder, _TOKENIZER, "prefix", model.get("continuing_subword_prefix", "##"), ["##"])
        numbers = model["vocab"]
        words = sorted(numbers, key=numbers.__getitem__)
        if [numbers[word] for word in words] != list(range(len(words))):
            raise InputError(f"{folder / _TOKENIZER}: expected word pieces numbered from 0")
    else:
        words = _lines(folder, _VOCABULARY)
    missing = [token for token in SPECIAL_TOKENS if token not in words]
    if missing or len(set(words)) < len(words):
        raise InputError(
            f"{folder / (_TOKENIZER if tokenizer else _VOCABULARY)}: expected distinct word pieces "
            f"with {', '.join(SPECIAL_TOKENS)} among them; missing: {', '.join(missing) or 'none'}"
        )
    return words


def _read_preset(folder: Path, config: Any) -> SentenceModel:
    """all-MiniLM-L6-v2 as earlier versions saved it."""
    vocabulary = _lines(folder, "assets/tokenizer/vocabulary.txt")
    lowercase = bool(_read(folder, _TOKENIZER)["config"]["lowercase"])
    longest = min(256, config["max_sequence_length"])
    width = int(config["hidden_dim"])
    return SentenceModel(folder, width, longest, "mean", lowercase, False, vocabulary)


def _expect(folder: Path, file: str, name: str, value: Any, expected: Any) -> None:
    if not any(value is each or value == each for each in expected):
        raise InputError(
            f"{folder / file}: {name} is {value!r}, which is not supported; expected "
            f"{' or '.join(map(str, expected))}"
        )


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; expected {_EXPECTED_FILES}")


def _text(folder: Path, name: str) -> str:
    path = folder / name
    _check_file(path)
    if path.stat().st_size > _LARGEST_TEXT_FILE:
        raise InputError(f"{path}: expected a file of at most {_LARGEST_TEXT_FILE:,} bytes")
    return path.read_text(encoding="utf-8")


def _lines(folder: Path, name: str) -> list[str]:
    return _text(folder, name).removesuffix("\n").split("\n")


def _read(folder: Path, name: str, default: Any = None) -> Any:
    """Return the JSON object or list in a file, or `default` if one is given and no file exists."""
    if default is not None and not (folder / name).is_file():
        return default
    _text(folder, name)
    value = read_json(folder / name)
    if not isinstance(value, list if name == _MODULES else dict):
        raise InputError(f"{folder / name}: expected {_EXPECTED_FILES}")
    return value
