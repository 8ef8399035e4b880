"""
The messages between the worker process and the zygote.

Control socket, worker to zygote: one SOCK_SEQPACKET message per run, JSON plus four descriptors (a reply socket for
this run, the input, the report, the payload). The zygote answers on the run's own reply socket, so any number of
threads may wait at once; when the zygote dies they all see the end of the stream.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import Any

MAX_MESSAGE = 64 << 10
MAX_REPORT = 64 << 10
DESCRIPTORS = 4

# A child's own exit codes: it wrote its report; it could not be confined, and says so; it could not even say so.
EXIT_REPORTED, EXIT_UNCONFINED, EXIT_SILENT = 0, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`Limits` as plain numbers, for the child."""

    bytes: int
    pixels: int
    side: int
    frames: int
    scans: int
    profile_bytes: int
    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    output_bytes: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run: which program, on what, within which bounds. `source` is None for an encoded file."""

    program: str
    source: tuple[int, int, int] | None
    arguments: dict[str, Any]
    bounds: Bounds

    def to_bytes(self) -> bytes:
        """
        Return the message.

        Raises:
            ValueError: It is longer than one message may be.
        """
        message = json.dumps(asdict(self), separators=(",", ":")).encode()
        if len(message) > MAX_MESSAGE:
            raise ValueError("the recipe is too large to be sent to the sandbox")
        return message

    @classmethod
    def from_bytes(cls, message: bytes) -> Order:
        """Rebuild an order; it comes from the worker and is trusted."""
        fields = json.loads(message)
        source = fields["source"]
        return cls(
            program=fields["program"],
            source=None if source is None else (source[0], source[1], source[2]),
            arguments=fields["arguments"],
            bounds=Bounds(**fields["bounds"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    How a child ended: its exit code (negative for a signal), whether its wall clock ran out, what it used.

    `started` is false where there was no room for a child.
    """

    exit_code: int
    out_of_time: bool
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    started: bool = True

    def to_bytes(self) -> bytes:
        """Return the message."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> Ending:
        """Rebuild an ending; the zygote never evaluated a pixel and is trusted."""
        return cls(**json.loads(message))


NOT_STARTED = Ending(
    exit_code=EXIT_SILENT, out_of_time=False, cpu_seconds=0.0, wall_seconds=0.0, peak_bytes=0, started=False
)


def receive_order(control: socket.socket) -> tuple[Order, list[int]] | None:
    """Return the next order and its descriptors, or None when the worker is gone."""
    message, descriptors, _flags, _address = socket.recv_fds(control, MAX_MESSAGE, DESCRIPTORS)
    if not message:
        return None
    return Order.from_bytes(message), descriptors
