"""Two messages of TensorFlow Serving's configuration that its API package lacks.

Names, types and numbers are those of its `session_bundle_config.proto` and
`monitoring_config.proto`.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"


def _field(name: str, number: int, kind: Any, repeated: bool = False) -> Any:
    """`kind`: one of `_Field`'s types, or the full name of a message."""
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        return _Field(
            name=name, number=number, type=_Field.TYPE_MESSAGE, type_name=kind, label=label
        )
    return _Field(name=name, number=number, type=kind, label=label)


_INT64 = ".google.protobuf.Int64Value"
_MESSAGES = {
    "BatchingParameters": [
        _field("max_batch_size", 1, _INT64),
        _field("batch_timeout_micros", 2, _INT64),
        _field("max_enqueued_batches", 3, _INT64),
        _field("num_batch_threads", 4, _INT64),
        _field("thread_pool_name", 5, ".google.protobuf.StringValue"),
        _field("allowed_batch_sizes", 6, _Field.TYPE_INT64, repeated=True),
        _field("pad_variable_length_inputs", 7, _Field.TYPE_BOOL),
        _field("enable_large_batch_splitting", 8, ".google.protobuf.BoolValue"),
        _field("max_execution_batch_size", 9, _INT64),
    ],
    "PrometheusConfig": [
        _field("enable", 1, _Field.TYPE_BOOL),
        _field("path", 2, _Field.TYPE_STRING),
    ],
    "MonitoringConfig": [_field("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig")],
}


def _classes() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/tf_serving/config_messages.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        message_type=[
            descriptor_pb2.DescriptorProto(name=name, field=fields)
            for name, fields in _MESSAGES.items()
        ],
    )
    # A pool of its own: should the API package bring these messages one day, nothing collides.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASS = _classes()
BatchingParameters = _CLASS["BatchingParameters"]
MonitoringConfig = _CLASS["MonitoringConfig"]
