"""Small sentence-transformers models with random weights, and their forward pass in NumPy."""

import json
import math
from pathlib import Path

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"!,.?", "a", "b", "red", "blue", "car"]
WORDS += ["caf", "the", "##e", "##s", "##ed", "今", "天", "Red", "i", "##i"]
LAYERS, HEADS, WIDTH, INNER, POSITIONS = 2, 2, 8, 12, 16


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_model(folder: Path, pooling="mean_tokens", longest=10) -> dict[str, np.ndarray]:
    """Writes a model with a BERT in Hugging Face's format; returns its weights."""
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(WORDS))
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        for name, shape in {
            "attention.self.query": (WIDTH, WIDTH),
            "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH),
            "attention.output.dense": (WIDTH, WIDTH),
            "attention.output.LayerNorm": (WIDTH,),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
            "output.LayerNorm": (WIDTH,),
        }.items():
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    weights = {n: generator.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    settings = {
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    write_json(folder / "config.json", settings)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest})
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (path, name) in enumerate(modules.items())
        ],
    )
    modes = dict.fromkeys(("cls_token", "mean_tokens", "max_tokens"), False) | {pooling: True}
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": WIDTH} | {f"pooling_mode_{m}": v for m, v in modes.items()},
    )
    return weights


def forward(weights: dict[str, np.ndarray], tokens: list[int], pooling: str) -> np.ndarray:
    """(width,) features of one text, [CLS] and [SEP] among its tokens (Devlin et al. 2019)."""

    def part(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def normalized(name, x):
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def heads(x):
        return x.reshape(len(tokens), HEADS, WIDTH // HEADS).transpose(1, 0, 2)

    w = {name: weight.astype(np.float64) for name, weight in weights.items()}
    x = w["embeddings.word_embeddings.weight"][tokens]
    x = x + w["embeddings.position_embeddings.weight"][: len(tokens)]
    x = normalized("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            heads(part(f"{at}.attention.self.{name}", x)) for name in ("query", "key", "value")
        )
        attention = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(WIDTH // HEADS))
        attention /= attention.sum(axis=2, keepdims=True)
        joined = (attention @ value).transpose(1, 0, 2).reshape(len(tokens), WIDTH)
        attended = part(f"{at}.attention.output.dense", joined)
        x = normalized(f"{at}.attention.output.LayerNorm", x + attended)
        inner = part(f"{at}.intermediate.dense", x)
        inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        x = normalized(f"{at}.output.LayerNorm", x + part(f"{at}.output.dense", inner))
    pooled = x[0] if pooling == "cls_token" else x.mean(axis=0)
    return pooled / np.linalg.norm(pooled)
