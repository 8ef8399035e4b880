"""
The steps of a job, one function per state. Each does its work, persists, and leaves the record in the next state.

    preparing   give the keys their real deadline, make the provider's clean input
    submitting  call the provider; the intent was stored before
    awaiting    poll the provider's task
    collecting  ask the provider to erase its copies of sealed results
    rendering   make the renditions and seal them

A task that failed for nothing leads from awaiting back to preparing.

A step returns a `Wait` when the job cannot go on now. A provider that charges nothing is simply called anew after a
crash; one that charges is never called twice for one intent unless it promises to recognise the repetition.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from metrics.instruments import Step
from pipelines import Note, digital_source_of
from providers import (
    Charged,
    Done,
    InMemory,
    OutcomeUnknown,
    Pending,
    ProviderError,
    SealedResult,
    Task,
    TaskFailed,
)
from storage import ObjectClass, ObjectRef
from storage.faults import reach
from worker.choosing import may_fall_over
from worker.failed_tasks import asked_to_erase, begin_again, let_go
from worker.faults import WorkerFault
from worker.lost_calls import LOOK_AGAIN, LookAgain, can_be_found, found, may_be_repeated
from worker.polling import pause
from worker.records import (
    JobState,
    OutputRecord,
    ResultRecord,
    encode_notes,
    encode_outputs,
    encode_results,
)
from worker.run import Run
from worker.settling import DONE_FIELDS
from worker.transfers import ACCEPTED, amended, answered, encode_transfers


@dataclass(frozen=True, slots=True)
class Wait:
    """
    The job goes on after `delay`; `strike` if that is because something failed.

    One that waits for its turn is `idle`: it neither failed nor came any further, so earlier strikes still count.
    """

    delay: timedelta
    strike: bool = False
    idle: bool = False


def prepare(run: Run) -> Wait | None:
    """Take the job on: from here its keys live until the policy's deadline instead of the pending one."""
    run.bench.store.extend(run.job.consumed, run.job.deadline)
    if run.recipe.operation is None:
        run.advance(JobState.RENDERING)
        return None
    if run.job.task is not None:
        let_go(run)
    # Before the intent: a job that waits for its turn must not look like one whose call was lost.
    wait = run.choose()
    if wait is not None:
        return Wait(wait, idle=True)
    run.provider_input()
    reach(WorkerFault.PREPARED)
    run.intend(secrets.token_hex(16))
    reach(WorkerFault.INTENT_STORED)
    return None


def submit(run: Run) -> Wait | None:
    """Call the provider once, or find out what became of a call that a stopped worker made."""
    fresh, run.intent_is_fresh = run.intent_is_fresh, False
    called = False
    try:
        answer = None if fresh else found(run)
        if isinstance(answer, LookAgain):
            return Wait(answer.after)
        if answer is None:
            called = True
            answer = run.provider.submit(run.request())
    except ProviderError as error:
        return _not_accepted(run, error, called=called)
    reach(WorkerFault.SUBMITTED)
    # What was paid for is stored before anything else is done.
    if isinstance(answer, Done):
        _store_results(run, answer)
        run.free_slot()
        run.report(None)
        return None
    _store_task(run, answer)
    run.keep_slot()
    run.report(None)
    return Wait(pause(run, answer))


def wait_for_task(run: Run) -> Wait | None:
    """Ask the provider how its task is going, unless the keys are gone: then the job has ended, whatever it answers."""
    run.bench.store.extend(run.job.consumed, run.job.deadline)
    try:
        answer = run.provider.poll(Task.model_validate(run.job.task))
    except ProviderError as error:
        run.report(error)
        if not error.retryable:
            run.free_slot()
        if isinstance(error, TaskFailed):
            return Wait(begin_again(run, error))
        raise
    reach(WorkerFault.POLLED)
    if isinstance(answer, Pending):
        if answer.task.model_dump(mode="json") != run.job.task:
            _store_task(run, answer)
        return Wait(pause(run, answer))
    _store_results(run, answer)
    run.free_slot()
    run.report(None)
    return None


def collect(run: Run) -> None:
    """Have the provider erase what it keeps; the results are sealed and named in the record by now."""
    run.bench.store.extend(run.job.consumed, run.job.deadline)
    if run.job.task is None:
        run.advance(JobState.RENDERING)
        return
    # The paid result must not be lost because its deletion failed: the job goes on, and what is owed is asked for again
    # after its end.
    transfers, owed = asked_to_erase(run)
    fields = {"transfers": encode_transfers(transfers), "owed": str(int(owed))}
    run.advance(JobState.RENDERING, fields, transfers=transfers, owed=owed)


def render(run: Run) -> None:
    """Make every rendition of the recipe in one sandboxed run, seal each, and settle the job as done."""
    outputs: list[OutputRecord] = []
    notes: tuple[Note, ...] = ()
    with run.picture() as source:
        if run.recipe.renditions:
            pending = run.bench.policies[run.job.policy].pending
            ai = digital_source_of(run.recipe.operation)
            limits = run.bench.limits_under(run.job.policy)
            with run.bench.sandbox.render(source, run.recipe, limits, digital_source=ai) as renditions:
                reach(WorkerFault.RENDERED)
                notes = renditions.notes
                now = datetime.now(UTC)
                for rendition in renditions:
                    # Until the record names it, an output lives by the short pending deadline like an upload does.
                    sealed = run.bench.store.seal(
                        rendition.data,
                        object_class=ObjectClass.OUTPUT,
                        deadline=now + pending,
                        # Twice, for what the clocks of this host and of Redis may differ by.
                        ceiling=now + 2 * pending + run.job.output_lifetime,
                    )
                    run.unrecorded.append(sealed.ref)
                    reach(WorkerFault.OUTPUT_SEALED)
                    outputs.append(
                        OutputRecord(
                            rendition.name,
                            rendition.media_type,
                            rendition.width,
                            rendition.height,
                            sealed.size,
                            sealed.ref,
                        )
                    )
    run.advance(
        JobState.SETTLED,
        {
            **DONE_FIELDS,
            "outputs": encode_outputs(tuple(outputs)),
            "notes": encode_notes(notes),
        },
        outcome=JobState.DONE,
        reason=DONE_FIELDS["reason"],
        outputs=tuple(outputs),
        notes=notes,
    )
    run.recorded(output.ref for output in outputs)
    reach(WorkerFault.SETTLED)


STEPS: Mapping[JobState, tuple[Step, Callable[[Run], Wait | None]]] = {
    JobState.PREPARING: (Step.PREPARE, prepare),
    JobState.SUBMITTING: (Step.SUBMIT, submit),
    JobState.AWAITING: (Step.AWAIT, wait_for_task),
    JobState.COLLECTING: (Step.COLLECT, collect),
    JobState.RENDERING: (Step.RENDER, render),
}


def _not_accepted(run: Run, error: ProviderError, *, called: bool) -> Wait | None:
    """Say what becomes of a job whose call brought no answer that it can go on with."""
    able = run.provider.capabilities
    certain = error.charged is Charged.NO or not able.charges
    lost = not certain and (error.retryable or isinstance(error, OutcomeUnknown))
    code = OutcomeUnknown.code if lost else error.code
    transfers = answered(run.job.transfers, able, code)
    told = {"transfers": encode_transfers(transfers)}
    if called:
        run.report(error)
    if lost:
        # The provider may still be at work on it.
        run.keep_slot()
    else:
        run.free_slot()
    if may_fall_over(run.job, error):
        tried = run.job.tried if error.retryable else (*run.job.tried, run.job.provider)
        run.passed, run.last_error = run.passed | {run.job.provider}, error
        run.advance(JobState.PREPARING, told | {"tried": json.dumps(tried)}, transfers=transfers, tried=tried)
        return None
    if error.retryable and error.charged is Charged.NO:
        # The intent certainly bought nothing; the next attempt makes a fresh one.
        run.advance(JobState.PREPARING, told, transfers=transfers)
        raise error
    run.note(told, transfers=transfers)
    if not lost:
        raise error
    if called and can_be_found(run):
        return Wait(LOOK_AGAIN, strike=True)
    if may_be_repeated(run):
        run.advance(JobState.PREPARING, {"repeats": str(run.job.repeats + 1)}, repeats=run.job.repeats + 1)
        return None
    if isinstance(error, OutcomeUnknown):
        raise error
    # What another attempt might repair is not worth a second charge, and the job says what went wrong.
    raise OutcomeUnknown(f"{error.message} It may have been charged and is not repeated.") from None


def _store_task(run: Run, answer: Pending) -> None:
    task = answer.task.model_dump(mode="json")
    transfers = answered(run.job.transfers, run.provider.capabilities, ACCEPTED, answer.task)
    # Whatever becomes of the job from here on, somebody must ask the provider to erase.
    fields = {"task": json.dumps(task), "transfers": encode_transfers(transfers), "owed": "1"}
    run.advance(JobState.AWAITING, fields, task=task, transfers=transfers, owed=True)
    reach(WorkerFault.TASK_STORED)


def _store_results(run: Run, answer: Done) -> None:
    fields, changes, able = {}, {}, run.provider.capabilities
    if run.job.task is None:
        changes["transfers"] = answered(run.job.transfers, able, ACCEPTED)
    elif run.job.task.get("expires_at") is not None and able.result_lifetime is not None:
        # Only now is it known when the result was made, at the latest.
        changes["transfers"] = amended(run.job.transfers, kept_until=datetime.now(UTC) + able.result_lifetime)
    if changes:
        fields["transfers"] = encode_transfers(changes["transfers"])
    sealed = tuple(
        ResultRecord(result.media_type, ObjectRef.parse(result.ref))
        for result in answer.results
        if isinstance(result, SealedResult)
    )
    if sealed:
        fields["results"] = encode_results(sealed)
        run.advance(JobState.COLLECTING, fields, results=sealed, **changes)
        # An answer may bring more than what is named of it; the rest dies with this run.
        run.recorded(result.ref for result in sealed)
        reach(WorkerFault.RESULTS_STORED)
        return
    run.keep_results([result for result in answer.results if isinstance(result, InMemory)])
    run.advance(JobState.RENDERING, fields, **changes)
