"""As much of a cluster as a rollout needs: a Service's address, pods, their end as a kubelet brings it about, and callers."""

import asyncio
import http.client
import random
import subprocess
import threading
import time

import numpy as np
import tritonclient.grpc

import processes


class ServiceAddress:
    """A Service as kube-proxy makes it: each new connection goes to one of the endpoints, and stays there."""

    def __init__(self):
        self.endpoints = []
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._forward, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _forward(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", random.choice(self.endpoints))
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    @staticmethod
    async def _pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def end_pod(service_address, port, containers, grace_period):
    """Deletes a pod. Its containers are (process, preStop command or None).

    The kubelet runs all preStop hooks at once, sends each container SIGTERM when its own is done, and SIGKILL to what is left when
    the grace period is over. Meanwhile, and a little later, the endpoint is taken away. Returns the exit codes.
    """
    began = time.monotonic()

    def forget():
        time.sleep(1)
        service_address.endpoints.remove(port)

    def end(process, pre_stop):
        if pre_stop:
            subprocess.run(pre_stop, check=True)
        process.terminate()
        try:
            process.wait(timeout=grace_period - (time.monotonic() - began))
        except subprocess.TimeoutExpired:
            process.kill()

    threads = [threading.Thread(target=forget)] + [threading.Thread(target=end, args=each) for each in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [process.wait() for process, _ in containers]


class Callers:
    """Callers over REST and gRPC who never pause, and one whose body takes long to arrive. They keep what went wrong."""

    SECONDS_OF_THE_SLOW_BODY = 20

    def __init__(self, port):
        self.port = port
        self.answered = 0
        self.failures = []
        self._stop = threading.Event()
        self._image = (processes.ROOT / "data/images/face.png").read_bytes()
        self._slow = threading.Thread(target=self._caught, args=[self._slow_body])
        self._threads = [threading.Thread(target=self._caught, args=[each]) for each in [self._rest, self._rest, self._grpc]]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in [*self._threads, *([self._slow] if self._slow.ident else [])]:
            thread.join()

    def begin_slow_body(self):
        self._slow.start()

    def _caught(self, calls):
        while not self._stop.is_set():
            try:
                calls()
            except Exception as error:
                self.failures.append(f"{calls.__name__}: {error!r}")
            if calls == self._slow_body:
                return

    def _check(self, status, body):
        if status == 200:
            self.answered += 1
        else:
            self.failures.append(f"{status}: {body}")

    def _rest(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._stop.is_set():
            connection.request("POST", "/v1/models/facequality:predict", self._image)
            answer = connection.getresponse()
            self._check(answer.status, answer.read())

    def _grpc(self):
        client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.port}")
        image = tritonclient.grpc.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([self._image], dtype=object))
        while not self._stop.is_set():
            assert client.infer("facequality", [image]).as_numpy("score").shape == (1, 1)
            self.answered += 1

    def _slow_body(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest("POST", "/v1/models/facequality:predict")
        connection.putheader("content-length", str(len(self._image)))
        connection.endheaders()
        for part in np.array_split(np.frombuffer(self._image, np.uint8), self.SECONDS_OF_THE_SLOW_BODY):
            connection.send(part.tobytes())
            time.sleep(1)
        answer = connection.getresponse()
        self._check(answer.status, answer.read())
