"""
Build what a process works with from its settings.

    with Deployment.open(Settings.load(), Role.WORKER) as deployment:
        deployment.jobs.show(job_id)

Each role gets no more than it needs: a web tier holds no root of class `upload`, so it can seal uploads and never
open one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Self

import redis

from metrics.instruments import register_providers
from pipelines import Limits, Recipe, load_recipes
from providers import ProviderRegistry
from storage import (
    BlobStore,
    KeyStore,
    ObjectClass,
    RetentionPolicy,
    RootStore,
    Rotator,
    SealedStore,
    load_policies,
    open_blob_store,
)
from worker.blob_settings import refuse_a_store_that_keeps
from worker.broker import NudgeBroker
from worker.errors import SettingProblem, SettingsError
from worker.home import blobs_url, open_roots, subject_key
from worker.jobs import JobStore
from worker.servers import Clients, connected, on_this_machine
from worker.settings import Settings


class Role(StrEnum):
    """Which of the pool's processes this is, and so which roots it holds."""

    WEB = "web"
    WORKER = "worker"
    SWEEPER = "sweeper"

    @property
    def roots(self) -> tuple[ObjectClass, ...]:
        """The classes whose roots the role may use."""
        return (ObjectClass.OUTPUT,) if self is Role.WEB else tuple(ObjectClass)


@dataclass(kw_only=True)
class Deployment:
    """
    The stores and the data of one process. Use as a context manager, or call `close`.

    Attributes:
        redis: The client of job records and broker.
        keys: The key store, on the same server unless the settings name another.
        root_stores: Of the classes the role may use.
        rotators: One for each of them, except for a web tier, which leaves rotation to others.
    """

    settings: Settings
    role: Role
    redis: redis.Redis
    keys: KeyStore
    blobs: BlobStore
    root_stores: Mapping[ObjectClass, RootStore]
    rotators: Mapping[ObjectClass, Rotator]
    store: SealedStore
    jobs: JobStore
    broker: NudgeBroker
    policies: Mapping[str, RetentionPolicy]
    recipes: Mapping[str, Recipe]
    registry: ProviderRegistry
    _stack: ExitStack = field(repr=False)

    @classmethod
    def open(cls, settings: Settings | None = None, role: Role = Role.WEB) -> Self:
        """
        Connect to everything; with no *settings*, as the environment says.

        Raises:
            SettingsError: A setting is wrong.
            ServerUnavailableError: Redis cannot be reached, or the private server cannot be started.
            StorageError: A store cannot be used, or would keep what is deleted; a file of policies is wrong.
            RecipeError: A file of recipes is wrong.
        """
        settings = Settings.load() if settings is None else settings
        policies = load_policies(settings.policies_dir)
        if settings.policy not in policies:
            problem = SettingProblem("DAYFLY_POLICY", f"is {settings.policy!r}", ", ".join(sorted(policies)))
            raise SettingsError([problem])
        recipes = load_recipes(settings.recipes_dir)
        registry = ProviderRegistry.from_entry_points()
        register_providers(registry.names())
        with ExitStack() as stack:
            clients = stack.enter_context(connected(settings))
            keys = KeyStore(clients.keys, replicas=settings.replicas)
            blobs = open_blob_store(blobs_url(settings))
            if role is not Role.WEB:
                refuse_a_store_that_keeps(blobs, policies.values())
            root_stores = {name: open_roots(settings, name) for name in role.roots}
            return cls(
                settings=settings,
                role=role,
                redis=clients.main,
                keys=keys,
                blobs=blobs,
                root_stores=root_stores,
                rotators={} if role is Role.WEB else _rotators(settings, keys, root_stores),
                store=SealedStore(keys, blobs, root_stores),
                jobs=JobStore(clients.main, replicas=settings.replicas),
                broker=NudgeBroker(clients.main),
                policies=policies,
                recipes=recipes,
                registry=registry,
                _stack=stack.pop_all(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and leave the private server if it was used. Safe to call twice."""
        self._stack.close()

    def ensure_roots(self) -> None:
        """
        Make the first root of each class, as worker and sweeper do when they start.

        For commands on a machine where neither ran yet; a web tier elsewhere must not be able to.
        """
        stores = {name: open_roots(self.settings, name) for name in ObjectClass}
        for rotator in _rotators(self.settings, self.keys, stores).values():
            rotator.ensure()

    @property
    def clients(self) -> Clients:
        """The servers of records and keys."""
        return Clients(self.redis, self.keys.client)

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the installed providers."""
        return self.registry.names()

    @property
    def default_policy(self) -> str:
        """The policy of jobs that name none."""
        return self.settings.policy

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload that is taken, in bytes."""
        return Limits().bytes

    @property
    def lease(self) -> timedelta:
        """How long a job stays with whoever has stopped working on it."""
        return timedelta(seconds=self.settings.lease_seconds)

    @cached_property
    def subject_key(self) -> bytes:
        """
        The key under which subject ids are hashed.

        Raises:
            SettingsError: It is not set, and a file on this machine would not do because the server is elsewhere.
        """
        if self.settings.subject_key is not None:
            return self.settings.subject_key.get_secret_value().encode()
        if not on_this_machine(self.settings.redis_url):
            # Two hosts with different keys would know one person under two hashes, and an erasure would find half.
            problem = SettingProblem(
                "DAYFLY_SUBJECT_KEY",
                "is not set, and jobs with a subject need it",
                "one secret, the same on every host",
            )
            raise SettingsError([problem])
        return subject_key(self.settings)


def _rotators(
    settings: Settings, keys: KeyStore, root_stores: Mapping[ObjectClass, RootStore]
) -> dict[ObjectClass, Rotator]:
    lifetimes = {
        ObjectClass.UPLOAD: timedelta(seconds=settings.root_lifetime_uploads_seconds),
        ObjectClass.OUTPUT: timedelta(seconds=settings.root_lifetime_outputs_seconds),
    }
    # The leading sweeper renews at every sweep; what nobody renewed for several of them is lost.
    window = timedelta(seconds=max(30.0, 4 * settings.sweep_seconds))
    return {
        name: Rotator(keys, store, name, lifetimes[name], renewed_window=window) for name, store in root_stores.items()
    }
