"""
The pool: the client for the web tier, job records and their states, the one actor, the sweeper, settings, the command.

    from worker.client import Client, JobSpec
"""

from __future__ import annotations
