"""A zygote that takes its time and ends without a word."""

from __future__ import annotations

import time


def main(_control_fd: int, _parent: int) -> None:
    time.sleep(4)
