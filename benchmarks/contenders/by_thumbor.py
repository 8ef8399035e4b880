"""thumbor: its own server on loopback, one request for each rendition, nothing kept."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.contenders.race import CannotError, Task, folders, race

CONFIGURATION = """\
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = {root!r}
STORAGE = "thumbor.storages.no_storage"
RESULT_STORAGE = None
ALLOW_UNSAFE_URL = True
AUTO_WEBP = False
MAX_PIXELS = 400000000
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    folder, out = folders()
    configuration = out / "thumbor.conf"
    configuration.write_text(CONFIGURATION.format(root=str(folder)))
    port = free_port()
    command = [os.environ["THUMBOR"], "-i", "127.0.0.1", "-p", str(port), "-c", str(configuration), "-l", "error"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)

        def work(photo: Path, outputs: list[Task]) -> list[bytes]:
            return [_fetched(port, photo.name, output) for output in outputs]

        race(work, folder, out)
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError("thumbor ended while it was starting")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("thumbor did not start")


def _fetched(port: int, photo: str, output: Task) -> bytes:
    size = f"fit-in/{output['square']}x{output['square']}" if "square" in output else f"{output['width']}x0"
    filters = f"filters:quality({output['quality']}):format({output['format']})"
    if "square" in output:
        filters += ":fill(ffffff,1)"
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", f"/unsafe/{size}/{filters}/{photo}")
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise CannotError("could not read the photo")
    return data


if __name__ == "__main__":
    main()
