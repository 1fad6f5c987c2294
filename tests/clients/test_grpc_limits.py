"""What the gRPC front holds and refuses: large messages, and a long stream whose reader is slow."""

import pathlib
import time

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

import processes

ROW_BYTES = 3 * 112 * 112 * 4
MIB = 1 << 20


@pytest.fixture(scope="module")
def fast():
    """The service before a predictor that answers zeros at once."""
    with processes.predictor("--null") as predictor, processes.service("--predictor_host", predictor.grpc) as service:
        yield service


def request(images, request_id=""):
    message = service_pb2.ModelInferRequest(model_name="facequality", id=request_id)
    message.inputs.add(name="input.1", datatype="FP32", shape=[images, 3, 112, 112])
    message.raw_input_contents.append(bytes(images * ROW_BYTES))
    return message


def channel(server, *options):
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(server.grpc, options=[*unlimited, *options])


# The reader takes in no more than this unread; by default a window would grow to hold all answers.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16 * 1024))


def test_a_hundred_tensors_in_one_message_work(fast):
    with channel(fast) as opened:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer(request(100), timeout=60)
    assert list(answer.outputs[0].shape) == [100, 1]
    assert len(np.frombuffer(answer.raw_output_contents[0], np.float32)) == 100


def test_a_message_above_the_limit_is_refused_by_the_flags_name(fast):
    with channel(fast) as opened:
        with pytest.raises(grpc.RpcError) as refusal:
            service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer(request(500), timeout=60)
    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "--max_body_bytes" in refusal.value.details()


def resident_peak(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_long_stream_with_a_slow_reader_keeps_memory_flat_and_loses_nothing(fast):
    count = 10_000
    taken = 0

    def requests():
        nonlocal taken
        for taken in range(1, count + 1):
            yield request(1, f"s{taken}")

    before = resident_peak(fast.process.pid)
    with channel(fast, *SMALL_WINDOW) as opened:
        answers = service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelStreamInfer(requests(), timeout=300)
        # This reader begins to read when the service has taken no request for a second.
        seen = -1
        while seen != taken:
            seen = taken
            time.sleep(1)
        ids = [answer.infer_response.id for answer in answers]
    grown = resident_peak(fast.process.pid) - before
    print(f"requests taken without a reader: {seen}; memory grown by {grown / MIB:.0f} MiB at most")
    assert seen < count, "the service took all requests though nobody read the answers"
    assert sorted(ids) == sorted(f"s{n}" for n in range(1, count + 1))
    # The whole stream carries 1.4 GiB.
    assert grown < 150 * MIB
