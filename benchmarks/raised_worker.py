"""A worker whose limits on an image are raised, because what is measured is beyond what a pool takes by default."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from pipelines import Limits, Sandbox
from worker import pool
from worker.logs import configure
from worker.settings import Settings

RAISED = partial(Limits, pixels=400_000_000, bytes=256 << 20, wall=timedelta(seconds=60), cpu=timedelta(seconds=60))


def main() -> None:
    # There is no setting for it: an operator has no reason to take such files.
    pool.Limits = RAISED  # type: ignore[misc,assignment]  # a class replaced by its own constructor with arguments
    with Sandbox() as sandbox:
        settings = Settings.load()
        configure(settings.log_level, settings.log_format)
        pool.run_worker(settings, sandbox)


if __name__ == "__main__":
    main()
