"""`edge-sdk export zoo`: makes the bundles that come with the SDK."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from export.cli_options import Data, Threads


def zoo(
    config: Annotated[Path, typer.Argument(help="TOML file that says which bundles.")] = Path(
        "bundles/zoo.toml"
    ),
    *,
    data: Data = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a bundle to make; may be repeated.")
    ] = None,
    checkpoints: Annotated[
        Path,
        typer.Option(
            help="Folder with NAME.pt of each bundle: where that is trained to its end, the bundle "
            "is made from it; else it is trained, and written there."
        ),
    ] = Path("build/zoo"),
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Take checkpoints also where their training is not over."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the bundles; default: that of CONFIG.", show_default=False),
    ] = None,
    threads: Threads = 2,
) -> None:
    """Train, export, measure and pin the bundles that come with the SDK."""
    import torch

    from edge_sdk.errors import InvalidOptionError
    from export.allocator import keep_freed_memory
    from export.progress import show_progress
    from export.tasks.registry import open_any
    from export.zoo.config import read_config
    from export.zoo.index import write_index
    from export.zoo.make import make_bundle

    wanted = read_config(config)
    names = [plan.name for plan in wanted.bundle]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        msg = f"{wanted.name} has no bundle {', '.join(unknown)}; it has {', '.join(names)}"
        raise InvalidOptionError(msg)
    torch.set_num_threads(threads)
    keep_freed_memory()
    folder = config.parent if out is None else out
    sources = cache(partial(open_any, data=data, seed=wanted.seed))
    for plan in wanted.bundle:
        if only and plan.name not in only:
            continue
        with show_progress() as progress:
            made = make_bundle(
                plan,
                wanted,
                sources,
                checkpoint=checkpoints / f"{plan.name}.pt",
                out=folder / plan.name,
                as_is=as_is,
                progress=progress,
                say=partial(typer.echo, err=True),
            )
        write_index(wanted, folder)  # now, so that what was made is whole when the next one fails
        typer.echo(f"{made.path}: {made.size_bytes / 1000:.0f} kB, digest {made.digest[:16]}")
