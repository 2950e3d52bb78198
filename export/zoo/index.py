"""What stands beside the shipped bundles: their pins, a table for people, and the notices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from export.errors import GateError
from export.tasks.licences import shippable_licence
from export.zoo.card import percent
from export.zoo.make import folder_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk import Bundle
    from export.zoo.config import ZooConfig

README_NAME = "README.md"
NOTICE_NAME = "NOTICE"


def write_index(config: ZooConfig, out: Path) -> dict[str, str]:
    """Pin and list the config's bundles that are in `out`.

    Returns:
        Name of each bundle to its digest.

    Raises:
        GateError: Together they are too large; nothing was written.
        InvalidOptionError: A folder in `out` is of no bundle of the config.
        BadBundleError: A bundle is damaged.
    """
    names = [plan.name for plan in config.bundle]
    strange = sorted(p.name for p in out.iterdir() if p.is_dir() and p.name not in names)
    if strange:
        msg = f"{config.name} does not name {', '.join(strange)} in its folder; remove it"
        raise InvalidOptionError(msg)
    bundles = {name: open_bundle(out / name) for name in names if (out / name).is_dir()}
    size = sum(folder_bytes(out / name) for name in bundles)
    if size > 1000 * config.most_kilobytes_in_all:
        msg = (
            f"the bundles have {size / 1000:.0f} kB, allowed {config.most_kilobytes_in_all}; "
            "they are not pinned. Leave one out, or raise most_kilobytes_in_all"
        )
        raise GateError(msg)
    pins = {name: bundle.digest for name, bundle in bundles.items()}
    _write(config.pins, json.dumps(pins, indent=1, sort_keys=True) + "\n")
    _write(out / README_NAME, _readme(config, bundles))
    _write(out / NOTICE_NAME, _notice(config, bundles))
    return pins


def _readme(config: ZooConfig, bundles: dict[str, Bundle]) -> str:
    rows = "".join(
        f"| [{name}]({name}/MODEL_CARD.md) | {bundle.manifest.learner} "
        f"| {', '.join(_provenance(bundle)['data'])} | {_headline(bundle)} "
        f"| {folder_bytes(bundle.path) / 1000:.0f} kB |\n"
        for name, bundle in bundles.items()
    )
    return f"""# Bundles that come with Edge SDK

`edge_sdk.pretrained(NAME)` opens one, `edge-sdk zoo` lists them, `edge-sdk zoo copy NAME FOLDER`
copies one out. Made by `edge-sdk export zoo {config.name}`, which also writes this page. Accuracies
are of the int8 bundle in the C++ runtime, on classes that it never saw, with the 95 % interval over
episodes; the model cards have more of them.

| bundle | learner | trained on | accuracy | size |
|---|---|---|---|---|
{rows}
Licence: {config.licence}; the notices of the data are in [{NOTICE_NAME}]({NOTICE_NAME}).
"""


def _headline(bundle: Bundle) -> str:
    first = _provenance(bundle)["evaluation"][0]
    return f"{percent(first)} ({first['tasks']}, {first['cell']})"


def _notice(config: ZooConfig, bundles: dict[str, Bundle]) -> str:
    parts = [f"The bundles in this folder are part of Edge SDK, licensed under {config.licence}.\n"]
    trained: dict[str, list[str]] = {}
    for name, bundle in bundles.items():
        for tasks in _provenance(bundle)["data"]:
            licence = shippable_licence(tasks)
            if licence.notice:
                about = f"trained on {licence.source}\n\n{licence.notice}"
                trained.setdefault(about, []).append(name)
    parts += [f"{', '.join(names)}: {about}" for about, names in trained.items()]
    return "\n".join(parts)


def _provenance(bundle: Bundle) -> dict[str, Any]:
    return dict(bundle.manifest.provenance)


def _write(path: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
