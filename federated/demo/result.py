"""What the demo found: frozen values between those who compute and those who show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.intervals import Mean

Confusion: TypeAlias = "tuple[tuple[int, ...], ...]"
"""Counts; row: what was written, column: what was predicted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How a study speaks of its data.

    Attributes:
        title: Heading of the study.
        things: What is recognised, plural ("digits").
        people: Who writes them, plural ("writers").
        trained_on: What meta-training saw, as a phrase.
        tested_on: What the new user and the writers bring, as a phrase.
    """

    title: str
    things: str
    people: str
    trained_on: str
    tested_on: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """How meta-training went; accuracy 0..1 on validation classes."""

    learner: str
    tasks: str
    num_classes: int
    num_images: int
    steps: int
    seconds: float
    seed: int
    validation_accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What was written, and the gates it passed; errors are relative to float64 PyTorch."""

    parity_update_error: float
    parity_logit_error: float
    parity_update_limit: float
    parity_logit_limit: float
    fp32: Mean
    int8: Mean
    drop: Mean
    max_drop: float
    embed_fp32_bytes: int
    embed_int8_bytes: int
    bundle_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShotsResult:
    """Query accuracy of a new user at one number of shots; means are over seeds.

    Attributes:
        shots: Examples taught of each class.
        adapted: The int8 bundle, adapted by the C++ runtime.
        nearest: Pixel nearest neighbour on the same examples.
        logistic: Logistic regression on the same pixels.
        better: Name of the better of the two by its mean.
        gain: `adapted` minus the better, paired by seed.
    """

    shots: int
    adapted: Mean
    nearest: Mean
    logistic: Mean
    better: str
    gain: Mean

    @property
    def baseline(self) -> Mean:
        """Accuracy of the better baseline."""
        return self.nearest if self.better == NEAREST else self.logistic


NEAREST = "pixel 1-NN"
LOGISTIC = "logistic regression"


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotResult:
    """A new user's classes, taught from few examples.

    Attributes:
        ways: Classes taught.
        queries: Predictions a seed.
        seeds: Draws of examples (and of classes, where there are more than `ways`).
        by_shots: Ascending in shots.
        confusions: Counts over all seeds by shots; empty where classes differ between seeds.
        class_names: Of the confusions' rows and columns.
    """

    ways: int
    queries: int
    seeds: int
    by_shots: tuple[ShotsResult, ...]
    confusions: dict[int, Confusion]
    class_names: tuple[str, ...]

    def at(self, shots: int) -> ShotsResult:
        """The result for that many shots."""
        return next(entry for entry in self.by_shots if entry.shots == shots)


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalResult:
    """One user's story through `Personalizer`: teach, adapt, predict, forget, reopen.

    Attributes:
        shots: Examples taught of each class.
        num_queries: Predictions made, before and after forgetting.
        accuracy: Share of right predictions with all classes taught.
        forgotten: The class that was forgotten.
        predicted_before: How often it was predicted before.
        predicted_after: How often after.
        accuracy_rest_before: On the queries of the other classes, before.
        accuracy_rest_after: The same, after.
        forget_exact: The state has the bits of one that was never taught the class.
        reopened_same: Closing and opening again gave the same bits, before and after forgetting.
        judged: Examples on which the guardrail judged the model before it might answer, each by a
            model that had not learned from it.
        judged_accuracy: Share of right answers for those.
        logged: Entries in the user's audit log at the end.
        log_whole: Whether that log verifies.
    """

    shots: int
    num_queries: int
    accuracy: float
    forgotten: str
    predicted_before: int
    predicted_after: int
    accuracy_rest_before: float
    accuracy_rest_after: float
    forget_exact: bool
    reopened_same: bool
    judged: int
    judged_accuracy: float
    logged: int
    log_whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyResult:
    """Median wall times in ms, one thread, on the machine that ran the demo.

    Attributes:
        embed_ms: One image to features.
        adapt_ms: One adaptation, on `adapt_examples` embedded examples.
        predict_ms: One prediction from features.
        adapt_examples: Examples adapted on.
        repeats: Timed calls of each.
    """

    embed_ms: float
    adapt_ms: float
    predict_ms: float
    adapt_examples: int
    repeats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaughtResult:
    """Held-out writers after they teach, from the old bundle and from the new one."""

    shots: int
    old: Mean
    new: Mean
    gain: Mean


@dataclass(frozen=True, kw_only=True, slots=True)
class FederatedResult:
    """Rounds over some writers, measured on others; means are over the held-out writers.

    Attributes:
        writers: Writers who took part.
        held_out: Writers who took part in no round.
        images: Images of each class that a writer has.
        rounds: Server iterations.
        cohort: Writers sampled for each.
        server_lr: Length of the server's step.
        clipping_norm: L2 bound on one update.
        num_updates: Updates averaged, over all rounds.
        num_clipped: Of them, how many were cut to the bound on the server.
        labels: What the slots mean.
        before: Accuracy before anything is taught, with the bundle that rounds started from.
        after: The same with the bundle that rounds ended in.
        lift: `after` minus `before`, paired by writer.
        per_round: Accuracy after each round.
        taught: After teaching; None where a writer has one image a class, none to test on.
        confusion_before: Counts over held-out writers.
        confusion_after: The same, after.
        download_bytes: Files of the new bundle that differ from the old one.
        upload_bytes: Numbers in one writer's update, as float32.
        unchanged: Whether every graph but the starting state stayed the same, byte for byte.
        digest: Of the new bundle.
    """

    writers: int
    held_out: int
    images: int
    rounds: int
    cohort: int
    server_lr: float
    clipping_norm: float
    num_updates: int
    num_clipped: int
    labels: tuple[str, ...]
    before: Mean
    after: Mean
    lift: Mean
    per_round: tuple[Mean, ...]
    taught: TaughtResult | None
    confusion_before: Confusion
    confusion_after: Confusion
    download_bytes: int
    upload_bytes: int
    unchanged: bool
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A target or guard: what was asked, what was found, whether it holds."""

    name: str
    asked: str
    found: str
    met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Images for the eye, uint8 `[rows, columns, 28, 28]`, ink 255; each column is a class."""

    taught: NDArray[np.uint8]
    written: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """One source of tasks, the whole loop once round."""

    name: str
    words: Words
    training: TrainingResult
    export: ExportResult
    few_shot: FewShotResult
    personal: PersonalResult
    latency: LatencyResult
    federated: FederatedResult
    checks: tuple[Check, ...]
    pictures: Pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """One run of the demo.

    Attributes:
        seed: Of everything that is drawn.
        quick: A tiny run, whose figures mean nothing.
        studies: One a source of tasks.
        notes: What a reader should know of this run.
        versions: Of the packages that matter, and the platform.
        seconds: Wall time.
        cpu_seconds: Processor time of the process.
    """

    seed: int
    quick: bool
    studies: tuple[StudyResult, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    seconds: float
    cpu_seconds: float

    @property
    def missed(self) -> tuple[Check, ...]:
        """Targets and guards that do not hold."""
        return tuple(check for study in self.studies for check in study.checks if not check.met)


def as_json(result: DemoResult) -> dict[str, Any]:
    """All figures as JSON values; pictures are left out."""
    top = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "studies"}
    studies = []
    for study in result.studies:
        parts = {f.name: getattr(study, f.name) for f in fields(study) if f.name != "pictures"}
        studies.append({name: _plain(value) for name, value in parts.items()})
    return {**top, "notes": list(result.notes), "studies": studies}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return [asdict(entry) for entry in value]
    return asdict(value)
