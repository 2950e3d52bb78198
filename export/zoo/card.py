"""What the model card of a shipped bundle says besides that of every bundle, from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.tasks.licences import shippable_licence

if TYPE_CHECKING:
    from edge_sdk.manifest import BundleDraft


def shipped_card(card: str, draft: BundleDraft) -> str:
    """The card of an exported bundle, with what those who did not train it need to know.

    Args:
        card: As `export.model_card` wrote it.
        draft: With the provenance that `export.zoo.make` adds.
    """
    of: dict[str, Any] = dict(draft.provenance)
    first = of["evaluation"][0]
    return f"""{card}
## On classes that it never saw

Query accuracy of the bundle as it is shipped, adapted and predicted by the C++ runtime
({first["runtime"]}), with the 95 % interval over episodes; seed {first["seed"]}.
Queries are predicted independently of each other.

{evaluation_table(of["evaluation"])}
## Training data

{_data(of["data"])}
Validation, for decisions, and test, for the figures above, are of classes that were not trained on.

## Limits

* Inputs must look like those it was trained on: {draft.input.description}, centred and filling the
  frame as there.
* Accuracy falls with more labels and with fewer examples of each, as the table shows; on another
  kind of picture, another pen or another script it can be far lower. Measure on your own data
  before you rely on it.
* It always names one of the taught labels, also for what belongs to none of them; its confidence
  is calibrated on validation classes of the training source only.

## How it was made

`{of["command"]}`

{_training(of)}
All options of the run are in `manifest.json` under `provenance.training`.

## Licence

{of["licence"]}.
{_notices(of["data"])}"""


def evaluation_table(found: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| classes | episodes | accuracy | ECE |", "|---|---|---|---|"]
    for each in found:
        classes = f"{each['tasks']}, {each['split']}"
        protocol = "" if each["protocol"] == "random" else f", protocol {each['protocol']}"
        queries = "" if protocol else f", {each['queries']} queries a class"
        episodes = f"{each['episodes']} of {each['cell']}{queries}{protocol}"
        error = f"{100 * each['ece']:.2f} %"
        lines.append(f"| {classes} | {episodes} | {percent(each)} | {error} |")
    return "\n".join(lines) + "\n"


def percent(found: dict[str, Any]) -> str:
    """An accuracy with its interval, in %."""
    return f"{100 * found['accuracy']:.2f} ± {100 * found['half_width']:.2f} %"


def _training(of: dict[str, Any]) -> str:
    start = of["started_from"]
    begun = "" if start is None else f", from the trained backbone of `{start}`"
    seconds, seed = of["training_seconds"], of["seed"]
    return f"{of['outer_steps']} outer steps{begun}, {seconds} s of training, seed {seed}."


def _data(data: dict[str, Any]) -> str:
    return "".join(
        f"* {name}: {of['about']}\n  Licence: {of['licence']}. Source: {of['source']}.\n"
        for name, of in sorted(data.items())
    )


def _notices(data: dict[str, Any]) -> str:
    notices = ((name, shippable_licence(name).notice) for name in sorted(data))
    return "".join(
        f"\nIt was trained on {name}, whose notice is:\n\n```\n{notice}```\n"
        for name, notice in notices
        if notice
    )
