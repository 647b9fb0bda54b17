"""Certificates for servers and clients of tests, made where they are needed."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=fastq tests",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name: str, subject_alternative: str) -> dict[str, str]:
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                      f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.folder / "extension").write_text(
            f"subjectAltName={subject_alternative}\nkeyUsage=digitalSignature\nauthorityKeyIdentifier=keyid\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-out", f"{name}.pem", "-extfile", "extension")
        return {"certfile": str(self.folder / f"{name}.pem"), "keyfile": str(self.folder / f"{name}.key")}

    @property
    def ca_certs(self) -> str:
        return str(self.folder / "ca.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
