"""Requests and answers of the service, as Pydantic models.

A request is a JSON object or a multipart form with the same fields; in a form, `image` is a file.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)
from starlette.datastructures import UploadFile

from xgacmn_tf.errors import one_line
from xgacmn_tf.search.index import category_names
from xgacmn_tf.search.milvus_index import MAX_BYTES, MAX_CATEGORIES
from xgacmn_tf.serve.errors import RequestError

MAX_TEXT = 10_000
MAX_FEATURES = 100_000
Modality = Literal["image", "text"]
_MAX_PROBLEMS = 3
# More than the features of an image and a text. Parsed, JSON takes up to 130 times its size.
_MAX_JSON_VALUES = 250_000
_MAX_FIELDS = 20
_NUMBER, _WHOLE, _EMPTY = "expected a finite number", "expected a whole number", "must not be empty"
# Pydantic's types of errors in words for clients.
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "unknown field; see /docs for the fields",
    "model_type": "expected a JSON object",
    "model_attributes_type": "expected a JSON object",
    "dict_type": "expected a JSON object",
    "list_type": "expected a list of numbers",
    "string_type": "expected a string",
    "bytes_type": "expected a JPEG, PNG or WebP file in base64",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected {ge} or more",
    "string_too_short": _EMPTY,
    "bytes_too_short": _EMPTY,
    "too_short": _EMPTY,
    "string_too_long": "expected at most {max_length} characters",
    "too_long": "expected at most {max_length} values",
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
}


def _image(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value[:8].lower().startswith(("http://", "https://")):
        raise ValueError("addresses are not fetched; send the file, or its bytes in base64")
    if value[:11].lower() == "data:image/":  # As browsers and canvases write files.
        value = value.partition(";base64,")[2] or "?"
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError(
            "not base64; send the bytes of a JPEG, PNG or WebP file in base64"
        ) from error


def _id(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("expected printable characters without a blank at an end")
    if {".", ".."} & set(value.split("/")):
        raise ValueError("'.' and '..' must not be parts")
    return _short(value)


def _category(value: str) -> str:
    if len(category_names(value)) > MAX_CATEGORIES:
        raise ValueError(f"expected at most {MAX_CATEGORIES - 1} names joined by ', '")
    return _short(value)


def _short(value: str) -> str:
    """Reject what an index would reject, since the item is stored before it is indexed."""
    if len(value.encode()) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes as UTF-8")
    return value


Image = Annotated[bytes, BeforeValidator(_image), Field(min_length=1, json_schema_extra={
    "type": "string", "format": "byte", "description": "a JPEG, PNG or WebP file in base64"
})]  # fmt: skip
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, strip_whitespace=True)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_id)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Features = Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_FEATURES)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Text | None = None
    image: Image | None = None
    image_features: Features | None = None
    text_features: Features | None = None

    def sources(self) -> dict[str, tuple[str, Any]]:
        """Return what each modality is encoded from, see `store.Sources`; features come first."""
        sources: dict[str, tuple[str, Any]] = {}
        for modality in get_args(Modality):
            raw, features = getattr(self, modality), getattr(self, f"{modality}_features")
            if raw is not None or features is not None:
                sources[modality] = ("raw", raw) if features is None else ("features", features)
        return sources


class SearchRequest(_Body):
    """A query by a text, an image or features, of which exactly one is given."""

    k: int = Field(10, ge=1, description="number of hits")
    category: Label | None = Field(None, description="find items of this category only")
    find: Modality | None = Field(None, description="by default the other modality")
    similarity: str | None = Field(
        None, description='"posterior" ranks by category alone; by default that of the run'
    )

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        queries = (self.text, self.image, self.image_features, self.text_features)
        if sum(query is not None for query in queries) != 1:
            raise ValueError("give exactly one of text, image, image_features and text_features")
        return self


class ItemRequest(_Body):
    """An item with an image, a text or both; it replaces an item with the same id.

    Features are encoded in place of the image or the text, which are then only shown.
    """

    id: Id
    title: Text | None = None
    category: Annotated[Label, AfterValidator(_category)] | None = Field(
        None, description="several are joined by ', '"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.sources():
            raise ValueError("give text, image or both, or image_features or text_features")
        return self


class Hit(BaseModel):
    """An item found.

    `category_posterior` is the probability of `category` by the item itself, whatever the query;
    where the item has no category, `category` is its most probable class.
    """

    rank: int
    id: str
    score: float
    title: str
    category: str | None
    category_posterior: float | None
    category_known: bool
    thumbnail: str | None


class Query(BaseModel):
    """What the model made of the query.

    It is not understood if the encoder sees nothing in it, such as a text without a known word.
    """

    modality: str
    find: str
    understood: bool
    category: str | None = None
    category_posterior: float | None = None
    known_words: int | None = None
    unknown_words: list[str] = []


class SearchAnswer(BaseModel):
    """Hits, best first."""

    query: Query
    hits: list[Hit]
    no_good_match: bool | None
    model_version: int


async def read_body(request: Request, kind: type[_Body]) -> Any:
    """Return the body of a request as a model.

    Raises:
      RequestError: the body is malformed, or fields are missing, unknown or out of range.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        if content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
            async with request.form(max_files=1, max_fields=_MAX_FIELDS) as form:
                if len(form.multi_items()) > len(form):
                    raise RequestError("a field of the form is given twice")
                fields: Any = {
                    name: await value.read() if isinstance(value, UploadFile) else value
                    for name, value in form.items()
                }
            return await run_in_threadpool(_validated, kind, fields, False)
        body = await request.body()
        if json_values(body) > _MAX_JSON_VALUES:
            raise RequestError(f"the JSON holds more than {_MAX_JSON_VALUES:,} values", 413)
        # Large bodies take seconds, in which the event loop would answer nobody.
        return await run_in_threadpool(lambda: _validated(kind, json.loads(body), True))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {json_problem(error)}") from error


def _validated(kind: type[_Body], fields: Any, strict: bool) -> Any:
    """Return fields as a model. Run it in a thread: listing the problems of many takes seconds."""
    if isinstance(fields, dict) and len(fields) > _MAX_FIELDS:
        raise RequestError(f"{len(fields):,} fields; see /docs for the fields")
    try:
        return kind.model_validate(fields, strict=strict)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise RequestError(validation_message(problems)) from error


def json_values(body: bytes) -> int:
    """Return an upper bound on the number of values in lists and objects, without parsing."""
    return sum(map(body.count, (b",", b"[", b"{")))


def json_problem(error: Exception) -> str:
    """Return what is wrong with a body that the JSON parser rejects."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | binascii.Error):
        return one_line(error)
    return "it is nested too deeply, or a number is too long"


def validation_message(errors: Sequence[Any]) -> str:
    """Return one line on Pydantic's errors: the first ones, and their number if there are more."""
    lines = []
    for error in errors[:_MAX_PROBLEMS]:
        name = ".".join(str(part) for part in error["loc"] if part not in ("body", "query"))
        words = _WORDS.get(error["type"])
        if words is None:
            message = str(error["msg"]).removeprefix("Value error, ")
        else:
            message = words.format(**error.get("ctx", {}))
        lines.append(f"{name}: {message}" if name else message)
    text = "; ".join(lines)
    if len(errors) > _MAX_PROBLEMS:
        text = f"{len(errors)} problems, the first {_MAX_PROBLEMS} are: {text}"
    return text


def body_schema(kind: type[_Body]) -> dict[str, Any]:
    """Return what OpenAPI documents of a body that `read_body` reads."""
    schema = kind.model_json_schema()
    form = kind.model_json_schema()
    for option in form["properties"].get("image", {}).get("anyOf", []):
        if option.get("type") == "string":
            option["format"] = "binary"
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}
