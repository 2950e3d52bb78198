"""MODEL_CARD.md: what people should know of a bundle, from its manifest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sdk.manifest import BundleDraft


def model_card(draft: BundleDraft) -> str:
    """The card as Markdown; the same draft gives the same text."""
    shape = " x ".join(str(size) for size in draft.input.shape)
    tasks = draft.provenance.get("tasks")
    trained_on = ", ".join(sorted(tasks)) if isinstance(tasks, dict) else "unknown"
    what = {
        "closed_form": "in one closed-form step",
        "gradient": f"in {draft.steps} gradient steps",
        "sequential": "reading one example after the other",
    }[draft.adaptation]
    figures = sorted(draft.quality.items())
    quality = "\n".join(f"| {name} | {value:.6g} |" for name, value in figures)
    encodings = ", ".join(f"{name} {value}" for name, value in sorted(draft.quantization.items()))
    labels = (
        "Its first slots have fixed meanings, in order: " + ", ".join(draft.labels) + "."
        if draft.labels
        else "No slot has a fixed meaning: the app names its labels as it teaches them."
    )
    return f"""# {draft.name}, version {draft.version}

A `{draft.learner}` learner that is taught up to {draft.ways} labels on the device, {what}, from a
few examples of each. One example is float32 {shape}: {draft.input.description}. {labels}

* Meta-trained on: {trained_on}.
* Encodings: {encodings}.
* Intended for: personalization on the device, where a user teaches labels by showing examples.
* Not for: identifying people, or decisions about them; inputs unlike the training tasks without an
  evaluation of your own.
* Without anything taught, slots that are not in use are never predicted.

## Measured when it was written

Accuracies (0..1) are on validation episodes, through the device runtime.

| figure | value |
|---|---|
{quality or "| none | |"}
"""
