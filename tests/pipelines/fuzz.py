"""
Fuzz the whole child: `python -m tests.pipelines.fuzz SECONDS [SEED]`, or `… again FILE` for what was found.

First libFuzzer drives the code of the child in a process of its own (`fuzz_child`), from good files of every format
and small hostile ones, and keeps each case that takes a new way through it. Then all that it kept, and damaged forms
of it, go through the real sandbox, with every layer on. Whatever comes out must be an answer: a picture, or a refusal.
A crash, a forbidden system call or an answer that makes no sense is a finding; its case is kept in a file, and how to
see it again is printed. When the process under libFuzzer dies, it is started again without what killed it.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pipelines import Refused, Sandbox, SandboxError
from pipelines._zygote_process import _ENVIRONMENT
from tests.pipelines import fuzz_orders
from tests.pipelines.fuzz_seeds import mended, more_seeds, seeds, wounded

ROOT = Path(__file__).parents[2]
FINDINGS = Path("fuzz-findings")
TARGET = "tests.pipelines.fuzz_child"
# Of the target's environment: the findings there are already, which must not end every run after the first that met
# them, and that an error is to be shown where it is raised.
KNOWN = "DAYFLY_FUZZ_KNOWN"
PLAIN = "DAYFLY_FUZZ_PLAIN"

# Of the time there is, for libFuzzer; the rest is the sandbox's.
_GUIDED_SHARE = 0.75
_MOST_BYTES = 32 << 10
_OPTIONS = ("-timeout=25", "-rss_limit_mb=1536", f"-max_len={_MOST_BYTES}", "-len_control=0", "-reload=0")
_PROGRESS = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: \d+ corp: (\d+)", re.MULTILINE)
_EXCEPTION = re.compile(r"=== Uncaught Python exception: ===\n(.*)")


@dataclass
class Campaign:
    """
    What a campaign did.

    `coverage` is the number of branches taken: by the files it began with, and at the end. `deaths` are those of the
    process under libFuzzer, by what it says of them: crash, timeout, oom.
    """

    executions: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    coverage: tuple[int, int] = (0, 0)
    answers: Counter[str] = field(default_factory=Counter)
    replayed: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.executions:,} cases under libFuzzer (deaths: {dict(self.deaths) or 'none'}), branches "
            f"{self.coverage[0]:,} → {self.coverage[1]:,}; {self.replayed:,} of {self.cases:,} kept cases and "
            f"{self.answers.total() - self.replayed:,} damaged ones in the sandbox: {dict(self.answers.most_common())}"
        )


def first_cases(files: Sequence[bytes]) -> list[bytes]:
    """Return each file under every order there is."""
    return [fuzz_orders.case_of(order, file) for file in files for order in fuzz_orders.ORDERS]


def fuzz(
    seconds: float,
    seed: int,
    *,
    cases: Sequence[bytes] | None = None,
    counts: tuple[int, int] | None = None,
    target: str = TARGET,
) -> Campaign:
    """
    Fuzz for so long; with `counts`, for so many runs of libFuzzer, all that it kept, and so many damaged forms of it.

    Raises:
        RuntimeError: The target cannot be started, or dies without having been given a case.
    """
    campaign = Campaign()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="dayfly-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for case in first_cases([*seeds(), *more_seeds()]) if cases is None else cases:
            _keep(corpus, case)
        _guided(campaign, corpus, end - seconds * (1 - _GUIDED_SHARE), seed, counts[0] if counts else None, target)
        kept = [file.read_bytes() for file in sorted(corpus.iterdir())]
    campaign.cases = len(kept)
    _confined(campaign, kept, end, seed, counts[1] if counts else None)
    return campaign


def _keep(folder: Path, case: bytes) -> Path:
    file = folder / sha256(case).hexdigest()[:32]
    file.write_bytes(case)
    return file


def _guided(campaign: Campaign, corpus: Path, end: float, seed: int, runs: int | None, target: str) -> None:
    """Run libFuzzer until `end`, or for `runs` runs, starting it again whenever it has died."""
    artifacts = corpus.parent / "artifacts"
    artifacts.mkdir()
    known: list[str] = []
    while (left := end - time.monotonic()) > 0 and (runs is None or campaign.executions < runs):
        stop = f"-max_total_time={max(1, round(left))}" if runs is None else f"-runs={runs - campaign.executions}"
        seeded = f"-seed={seed + campaign.deaths.total()}"
        code, told = _run_target(
            target, [str(corpus), *_OPTIONS, stop, seeded, f"-artifact_prefix={artifacts}/"], {KNOWN: json.dumps(known)}
        )
        progress = [(int(number), what, int(branches)) for number, what, branches, _ in _PROGRESS.findall(told)]
        if progress:
            begun = next((branches for _, what, branches in progress if what == "INITED"), progress[-1][2])
            campaign.coverage = (campaign.coverage[0] or begun, max(campaign.coverage[1], progress[-1][2]))
            campaign.executions += progress[-1][0]
        if code == 0:
            break
        killers = [file for file in artifacts.iterdir() if not file.name.startswith("slow-unit-")]
        if not killers:
            raise RuntimeError(f"{target} ended with {code} and without a case:\n{told[-2000:]}")
        for file in killers:
            case, how = file.read_bytes(), file.name.partition("-")[0]
            campaign.deaths[how] += 1
            # A case of the corpus would kill every start from now on.
            for other in corpus.iterdir():
                if other.read_bytes() == case:
                    other.unlink()
            raised = _EXCEPTION.search(told)
            if raised is not None:
                known.append(raised[1].partition(": ")[2])
            _judge_death(campaign, case, how, None if raised is None else raised[1])
            file.unlink()


def _run_target(target: str, arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run libFuzzer on a target, with the zygote's own settings, and return its exit code and what it told."""
    with tempfile.TemporaryFile() as log:
        code = subprocess.run(
            [sys.executable, "-m", target, *arguments],
            cwd=ROOT,
            env={**_ENVIRONMENT, "PYTHONHASHSEED": "0", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
        log.seek(0)
        return code, log.read().decode("utf-8", "replace")


def _judge_death(campaign: Campaign, case: bytes, how: str, exception: str | None) -> None:
    """Note what ended libFuzzer's process: a crash always, what took too long or too much if the sandbox minds, too."""
    if how in ("timeout", "oom"):
        # Here nothing is limited. Where it is, that must be an answer.
        with Sandbox() as sandbox:
            _answered(campaign, sandbox, case)
        return
    _found(campaign, case, exception or "the process under libFuzzer died")


def _confined(campaign: Campaign, kept: list[bytes], end: float, seed: int, damaged_runs: int | None) -> None:
    """Have the real sandbox answer what was kept, in an order of the seed's, and then damaged forms of it."""
    source = random.Random(seed)
    source.shuffle(kept)
    more = itertools.islice(_forever_damaged(source, kept), damaged_runs)
    with Sandbox() as sandbox:
        for number, case in enumerate(itertools.chain(kept, more)):
            if damaged_runs is None and time.monotonic() > end:
                break
            _answered(campaign, sandbox, case)
            campaign.replayed += number < len(kept)


def _forever_damaged(source: random.Random, kept: list[bytes]) -> Iterator[bytes]:
    while True:
        case = source.choice(kept)
        file = wounded(source, case[1:], kept)
        yield case[:1] + (mended(file) if source.random() < 0.5 else file)


def _answered(campaign: Campaign, sandbox: Sandbox, case: bytes) -> None:
    try:
        fuzz_orders.answer(sandbox, case)
        campaign.answers["made"] += 1
    except Refused as refused:
        campaign.answers[refused.code] += 1
    except SandboxError as error:
        campaign.answers["finding"] += 1
        _found(campaign, case, str(error))


def _found(campaign: Campaign, case: bytes, what: str) -> None:
    FINDINGS.mkdir(exist_ok=True)
    file = _keep(FINDINGS, case)
    campaign.findings.append(
        f"{fuzz_orders.order_of(case)}: {what}\n    see it again: python -m tests.pipelines.fuzz again {file}"
    )


def again(files: Sequence[str]) -> int:
    """Have kept cases answered in the sandbox, and by the target, which says where in the code a finding is."""
    with Sandbox() as sandbox:
        for file in files:
            case = Path(file).read_bytes()
            print(f"{file}, {fuzz_orders.order_of(case)}: ", end="", flush=True)
            try:
                fuzz_orders.answer(sandbox, case)
                print("made")
            except (Refused, SandboxError) as error:
                print(f"{type(error).__name__}: {error}")
            run = _run_target(TARGET, [str(Path(file).absolute())], {PLAIN: "1"})
            print("\n".join(line for line in run[1].splitlines() if not line.startswith(("INFO:", "WARNING:"))))
    return 0


def main() -> int:
    if sys.argv[1:2] == ["again"]:
        return again(sys.argv[2:])
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1, 1 << 31)
    print(f"fuzzing for {seconds:g} seconds from seed {seed}", flush=True)
    campaign = fuzz(seconds, seed)
    print(campaign)
    for finding in campaign.findings:
        print(finding)
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
