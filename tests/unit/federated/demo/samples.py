"""Synthetic images for the tiny bundles, and a whole result without running anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.intervals import Mean
from export.tasks.base import ImagePool
from federated.demo.checks import check_study
from federated.demo.result import (
    LOGISTIC,
    DemoResult,
    ExportResult,
    FederatedResult,
    FewShotResult,
    LatencyResult,
    PersonalResult,
    Pictures,
    ShotsResult,
    StudyResult,
    TaughtResult,
    TrainingResult,
    Words,
)

SIZE = 4
CLASSES = 3


def pool(*, users: int = 1, images: int = 12, seed: int = 0) -> ImagePool:
    """Images of three classes that are easy to tell apart, `images` of each by every user."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(99).integers(0, 2, (CLASSES, SIZE, SIZE)) * 200
    classes = np.tile(np.arange(CLASSES).repeat(images), users)
    noise = rng.integers(0, 40, (len(classes), SIZE, SIZE))
    return ImagePool(
        images=(shapes[classes] + noise).astype(np.uint8),
        classes=classes.astype(np.int64),
        users=np.arange(users).repeat(CLASSES * images).astype(np.int64),
        class_names=["circle", "square", "star"],
    )


def mean(value: float, half_width: float = 0.01) -> Mean:
    return Mean(mean=value, half_width=half_width, count=20)


def a_study(*, gain: float = 0.08, title: str = "Digits", taught: bool = True) -> StudyResult:
    """A study whose new user gains `gain` at every number of shots."""
    by_shots = tuple(
        ShotsResult(
            shots=shots,
            adapted=mean(0.8 + gain),
            nearest=mean(0.7),
            logistic=mean(0.8),
            better=LOGISTIC,
            gain=mean(gain),
        )
        for shots in (1, 5, 10)
    )
    counts = ((9, 1), (0, 10))
    return StudyResult(
        name="digits",
        words=Words(
            title=title,
            things="digits",
            people="writers",
            trained_on="invented characters",
            tested_on="real digits",
        ),
        training=TrainingResult(
            learner="prototypical",
            tasks="glyphs",
            num_classes=3000,
            num_images=30000,
            steps=600,
            seconds=65.0,
            seed=0,
            validation_accuracy=0.9,
        ),
        export=ExportResult(
            parity_update_error=1e-7,
            parity_logit_error=1e-5,
            parity_update_limit=1e-4,
            parity_logit_limit=1e-3,
            fp32=mean(0.9),
            int8=mean(0.899),
            drop=mean(0.001),
            max_drop=0.005,
            embed_fp32_bytes=447_000,
            embed_int8_bytes=116_000,
            bundle_bytes=129_000,
            digest="a" * 64,
        ),
        few_shot=FewShotResult(
            ways=2,
            queries=200,
            seeds=20,
            by_shots=by_shots,
            confusions={1: counts, 5: counts},
            class_names=("0", "1"),
        ),
        personal=PersonalResult(
            shots=5,
            num_queries=200,
            accuracy=0.9,
            forgotten="1",
            predicted_before=90,
            predicted_after=0,
            accuracy_rest_before=0.9,
            accuracy_rest_after=0.95,
            forget_exact=True,
            reopened_same=True,
            judged=50,
            judged_accuracy=0.9,
            logged=13,
            log_whole=True,
        ),
        latency=LatencyResult(
            embed_ms=0.2, adapt_ms=0.05, predict_ms=0.01, adapt_examples=50, repeats=300
        ),
        federated=FederatedResult(
            writers=12,
            held_out=10,
            images=5,
            rounds=2,
            cohort=6,
            server_lr=0.5,
            clipping_norm=30.0,
            num_updates=12,
            num_clipped=0,
            labels=("0", "1"),
            before=mean(0.5, 0.0),
            after=mean(0.9),
            lift=mean(0.4),
            per_round=(mean(0.7), mean(0.9)),
            taught=TaughtResult(shots=1, old=mean(0.8), new=mean(0.9), gain=mean(0.1))
            if taught
            else None,
            confusion_before=((10, 0), (10, 0)),
            confusion_after=counts,
            download_bytes=36_000,
            upload_bytes=8_192,
            unchanged=True,
            digest="b" * 64,
        ),
        checks=(),
        pictures=Pictures(
            taught=np.zeros((5, 2, 28, 28), np.uint8), written=np.zeros((4, 2, 28, 28), np.uint8)
        ),
    )


def a_result(study: StudyResult | None = None) -> DemoResult:
    study = a_study() if study is None else study
    return DemoResult(
        seed=0,
        quick=False,
        studies=(replace(study, checks=check_study(study)),),
        notes=("A note.",),
        versions={"edge-sdk": "0.1.0"},
        seconds=100.0,
        cpu_seconds=150.0,
    )
