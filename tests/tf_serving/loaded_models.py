"""Loaded versions of models, found by number, label or as the newest."""

import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

Code = grpc.StatusCode
VERSION = re.compile("0|[1-9][0-9]{0,18}")


class Failure(Exception):
    """A request without an answer: its gRPC code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Model:
    """A loaded version."""

    def __init__(self, folder: Path):
        self._loaded = tf.saved_model.load(str(folder))  # the signatures' variables live in it
        self.functions = self._loaded.signatures
        content = (folder / "saved_model.pb").read_bytes()
        self.signature_defs = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]

    def run(self, signature: str, decode: Any, outputs: Any = ()) -> dict[str, np.ndarray]:
        """Run a signature on `decode(its input specs)`; return the named outputs, or all."""
        name = signature or "serving_default"
        if name not in self.functions:
            raise Failure(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        function = self.functions[name]
        specs = function.structured_input_signature[1]
        try:
            inputs = decode(specs)
            if inputs.keys() != specs.keys():
                raise ValueError(f"expected the inputs {sorted(specs)}; given: {sorted(inputs)}")
            for key, array in inputs.items():
                if not specs[key].shape.is_compatible_with(array.shape):
                    raise ValueError(f"input {key} is {specs[key].shape}; given: {array.shape}")
            tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
            found = {key: value.numpy() for key, value in function(**tensors).items()}
            return {key: found[key] for key in outputs or found}
        except tf.errors.OpError as error:
            code = next(code for code in Code if code.value[0] == error.error_code)
            raise Failure(code, error.message) from error
        except (ValueError, TypeError, KeyError) as error:
            raise Failure(Code.INVALID_ARGUMENT, str(error)) from error


class Models:
    """The loaded versions of all models."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, int]] = {}
        self._versions: dict[str, dict[int, Model]] = {}

    def configure(self, config: ModelServerConfig) -> None:
        """Load what a configuration names and unload everything else."""
        labels: dict[str, dict[str, int]] = {}
        versions: dict[str, dict[int, Model]] = {}
        for model in config.model_config_list.config:
            found = {
                int(path.name): path
                for path in Path(model.base_path).iterdir()
                if VERSION.fullmatch(path.name)
            }
            policy = model.model_version_policy
            match policy.WhichOneof("policy_choice"):
                case "specific":
                    wanted = set(policy.specific.versions) & set(found)
                case "all":
                    wanted = set(found)
                case _:
                    wanted = {max(found)}
            loaded = self._versions.get(model.name, {})
            versions[model.name] = {n: loaded.get(n) or Model(found[n]) for n in sorted(wanted)}
            labels[model.name] = dict(model.version_labels)
        self._labels, self._versions = labels, versions

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, Model]:
        """Return the version that a request names, or the newest."""
        versions = self._versions.get(spec.name, {})
        number = self._number(spec)
        if number is None and versions:
            number = max(versions)
        if number not in versions:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise Failure(Code.NOT_FOUND, f"Servable not found for request: {which}")
        return number, versions[number]

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the loaded versions that a request names, all AVAILABLE."""
        number = self._number(spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(self._versions.get(spec.name, {}), reverse=True):
            if number in (None, version):
                response.model_version_status.add(
                    version=version, state="AVAILABLE"
                ).status.SetInParent()
        if not response.model_version_status:
            raise Failure(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return response

    def metadata(self, spec: model_pb2.ModelSpec) -> get_model_metadata_pb2.SignatureDefMap:
        """Return the signatures of the version that a request names."""
        _, model = self.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in model.functions:
            signatures.signature_def[name].CopyFrom(model.signature_defs.signature_def[name])
        return signatures

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if spec.WhichOneof("version_choice") != "version_label":
            return spec.version.value if spec.HasField("version") else None
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            message = f"Unrecognized servable version label: {spec.version_label}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return labels[spec.version_label]
