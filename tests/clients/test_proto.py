"""Our proto files against the descriptors inside NVIDIA's tritonclient wheel: names, numbers, types, labels, RPCs.

What we declare must be what Triton declares. The service is declared whole; of the model configuration only what is used, since
unknown fields are skipped.
"""

import pathlib

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def compiled(name, directory):
    target = directory / "descriptors.bin"
    status = protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={target}", str(PROTO / name)])
    assert status == 0
    return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file[0]


def of_triton(module):
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def messages(declared, prefix=""):
    """All messages with those inside them, by their full name."""
    for message in declared:
        yield prefix + message.name, message
        yield from messages(message.nested_type, f"{prefix}{message.name}.")


def enums(file):
    yield from ((e.name, e) for e in file.enum_type)
    for name, message in messages(file.message_type):
        yield from ((f"{name}.{e.name}", e) for e in message.enum_type)


def shape(message, field):
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return {"number": field.number, "type": field.type, "label": field.label, "of": field.type_name, "oneof": oneof}


def fields(file):
    return {
        f"{name}.{field.name}": shape(message, field)
        for name, message in messages(file.message_type)
        for field in message.field
    }


def values(file):
    return {f"{name}.{value.name}": value.number for name, enum in enums(file) for value in enum.value}


def calls(file):
    return {
        f"{service.name}.{call.name}": (call.input_type, call.output_type, call.client_streaming, call.server_streaming)
        for service in file.service
        for call in service.method
    }


@pytest.mark.parametrize(
    "name, module", [("grpc_service.proto", service_pb2), ("model_config.proto", model_config_pb2)]
)
def test_every_field_and_enum_value_is_tritons(name, module, tmp_path):
    ours, theirs = compiled(name, tmp_path), of_triton(module)
    assert ours.package == theirs.package == "inference"
    assert ours.syntax == theirs.syntax
    known_fields, known_values = fields(theirs), values(theirs)
    assert fields(ours) == {field: known_fields.get(field) for field in fields(ours)}
    assert values(ours) == {value: known_values.get(value) for value in values(ours)}


def test_the_service_is_whole(tmp_path):
    ours, theirs = compiled("grpc_service.proto", tmp_path), of_triton(service_pb2)
    assert calls(ours) == calls(theirs)
    assert set(fields(theirs)) - set(fields(ours)) == set()
