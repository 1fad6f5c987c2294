"""An authority and a certificate for 127.0.0.1, made by the openssl command for one test run."""

import pathlib
import ssl
import subprocess


class Certificates:
    def __init__(self, directory: pathlib.Path):
        self.authority = directory / "authority.pem"
        self.certificate = directory / "server.pem"
        self.key = directory / "server.key"
        key_of_authority = directory / "authority.key"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", key_of_authority, "-out", self.authority,
        )
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-CA", self.authority, "-CAkey", key_of_authority,
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", self.key, "-out", self.certificate,
        )

    @staticmethod
    def _openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    @property
    def flags(self):
        return ["--ssl_certfile", str(self.certificate), "--ssl_keyfile", str(self.key)]

    def client_context(self):
        return ssl.create_default_context(cafile=self.authority)
