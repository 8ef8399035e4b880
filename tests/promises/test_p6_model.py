"""
Random orders of everything the storage room does, against a model of what it must answer.

The model is a table: each object is live with a deadline, or shredded for a reason. After every step the key store, the
blob store and the receipts must say the same. `make chaos` runs it long, `make test` short.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from storage import (
    DeadlineError,
    Live,
    ObjectClass,
    ObjectRef,
    ObjectShreddedError,
    RestoreHealer,
    Shredded,
    ShredReason,
)
from tests.sealed import SealedRoom, keyring_url
from tests.storage.test_keystore import let_expire
from tests.valkey import PrivateValkey

pytestmark = pytest.mark.slow

CLASSES = st.sampled_from(list(ObjectClass))
REASONS = st.sampled_from([ShredReason.DONE, ShredReason.CANCELLED, ShredReason.ERASED])
CEILING = timedelta(hours=2)


@dataclass
class Known:
    content: bytes
    deadline: datetime
    reason: ShredReason | None = None
    recorded: bool = True


class StorageMachine(RuleBasedStateMachine):
    """One room, one model. The server is shared by the examples and emptied for each."""

    server: PrivateValkey
    objects = Bundle("objects")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dayfly-model-"))
        self.server.client().flushall()
        self.room = SealedRoom.open(self.server, self.folder, keyring_url())
        self.model: dict[ObjectRef, Known] = {}
        self.filed = 0

    def teardown(self) -> None:
        if hasattr(self, "room"):
            self.sweep_everything()
            self.room.forget_roots()
            shutil.rmtree(self.folder)

    # What a pool does ---------------------------------------------------------------------------------------------

    @rule(target=objects, content=st.binary(max_size=64), object_class=CLASSES)
    def seal(self, content: bytes, object_class: ObjectClass) -> ObjectRef:
        now = datetime.now(UTC)
        sealed = self.room.store.seal(
            content, object_class=object_class, deadline=now + timedelta(minutes=5), ceiling=now + CEILING
        )
        self.model[sealed.ref] = Known(content, now + timedelta(minutes=5))
        return sealed.ref

    @rule(ref=objects)
    def open(self, ref: ObjectRef) -> None:
        known = self.model[ref]
        if known.reason is None:
            assert self.room.store.open_bytes(ref) == known.content
            return
        with pytest.raises(ObjectShreddedError) as error:
            self.room.store.open_bytes(ref)
        assert error.value.reason is known.reason

    @rule(refs=st.lists(objects, min_size=1, max_size=3), minutes=st.integers(-5, 200), may_shorten=st.booleans())
    def extend(self, refs: list[ObjectRef], minutes: int, may_shorten: bool) -> None:
        wanted = datetime.now(UTC) + timedelta(minutes=minutes)
        known = [self.model[ref] for ref in refs]
        if minutes <= 0 or minutes >= 119 or any(one.reason for one in known):
            with pytest.raises((DeadlineError, ObjectShreddedError)):
                self.room.store.extend(refs, wanted, may_shorten=may_shorten)
            return
        self.room.store.extend(refs, wanted, may_shorten=may_shorten)
        for one in known:
            one.deadline = wanted if may_shorten else max(wanted, one.deadline)

    @rule(refs=st.lists(objects, min_size=1, max_size=4), reason=REASONS)
    def shred(self, refs: list[ObjectRef], reason: ShredReason) -> None:
        before = {ref: self.model[ref].reason for ref in refs}
        outcomes = self.room.store.shred(refs, reason)
        for outcome in outcomes:
            known = self.model[outcome.ref]
            assert outcome.already == (known.reason is not None)
            known.reason = known.reason or reason
            known.recorded = True
            assert outcome.reason is (before[outcome.ref] or reason)

    @rule(ref=objects)
    def let_the_deadline_pass(self, ref: ObjectRef) -> None:
        known = self.model[ref]
        if known.reason is None:
            let_expire(self.room.keys, ref)
            known.reason, known.recorded = ShredReason.EXPIRED, False

    @rule(object_class=CLASSES)
    def rotate(self, object_class: ObjectClass) -> None:
        assert self.room.rotators[object_class].rotate().lost == 0

    @rule(ref=consumes(objects))
    def delete_ciphertext(self, ref: ObjectRef) -> None:
        self.room.store.delete_ciphertext([ref])
        assert self.room.blob_path(ref).exists() == (self.model[ref].reason is None or not self.model[ref].recorded)

    @rule()
    def drain(self) -> None:
        self.filed += self.room.drain.drain(limit=5)

    @rule()
    def sweep(self) -> None:
        self.room.sweep.expire_due()
        for known in self.model.values():
            known.recorded = True
        self.room.sweep.delete_doomed()
        self.room.sweep.collect_orphans()

    @rule()
    def look_for_a_restore(self) -> None:
        assert RestoreHealer(self.room.keys, self.room.blobs).heal() is None

    # What must hold at every moment -------------------------------------------------------------------------------

    @invariant()
    def every_object_is_as_the_model_says(self) -> None:
        for ref, known in getattr(self, "model", {}).items():
            status = self.room.store.status(ref)
            if known.reason is None:
                assert isinstance(status, Live)
                assert abs(status.deadline - known.deadline) < timedelta(seconds=30)
                assert self.room.blob_path(ref).exists()
            else:
                assert isinstance(status, Shredded)
                assert status.reason is known.reason
                assert not self.room.keys.client.exists(self.room.keys.row(ref.oid))

    @invariant()
    def the_figures_are_the_models(self) -> None:
        if not hasattr(self, "model"):
            return
        figures = self.room.keys.figures()
        live = sum(known.reason is None for known in self.model.values())
        assert sum(of_class.live for of_class in figures.classes.values()) == live
        assert sum(figures.created.values()) == len(self.model)
        assert sum(figures.destroyed.values()) == sum(bool(k.reason) and k.recorded for k in self.model.values())

    def sweep_everything(self) -> None:
        """At the end of every example: no ciphertext but of live objects, every event told once."""
        self.sweep()
        while self.room.drain.drain():
            pass
        live = {str(ref) for ref, known in self.model.items() if known.reason is None}
        assert {str(path.relative_to(self.room.blob_folder)) for path in self.room.files()} == live
        told = [(r["type"], r["oid"]) for r in self.room.drain.receipts() if "oid" in r]
        assert len(told) == len(set(told))
        assert {oid for kind, oid in told if kind == "created"} == {ref.oid for ref in self.model}
        ended = {ref.oid for ref, known in self.model.items() if known.reason is not None}
        assert {oid for kind, oid in told if kind == "destroyed"} == ended


@pytest.mark.timeout(3600)  # a failure is made smaller before it is told
@pytest.mark.parametrize("examples", [12, pytest.param(1500, marks=pytest.mark.campaign)])
def test_p6_the_store_answers_as_the_model_whatever_the_order(valkey: PrivateValkey, examples: int) -> None:
    StorageMachine.server = valkey
    run_state_machine_as_test(
        StorageMachine,
        settings=settings(
            max_examples=int(os.environ.get("MODEL_EXAMPLES", examples)),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # The short run is the same every time; the long one looks further.
            derandomize=examples < 100,
            database=None,
        ),
    )
