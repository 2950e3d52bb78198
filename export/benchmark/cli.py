"""`edge-sdk export benchmark`: trains, exports and measures any set of learners."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from export.cli_options import Data, Threads


def benchmark(
    configs: Annotated[
        list[Path], typer.Argument(help="TOML files; see benchmarks/learners.", metavar="CONFIG...")
    ],
    *,
    data: Data = None,
    work: Annotated[
        Path,
        typer.Option(help="Checkpoints, bundles and figures, reused if there."),
    ] = Path("build/benchmark"),
    out: Annotated[
        Path, typer.Option(help="Folder for RESULTS.md, results.json and the plots.")
    ] = Path("docs"),
    threads: Threads = 2,
) -> None:
    """Train and measure any set of learners, and write docs/RESULTS.md, of all files together."""
    import torch

    from export.allocator import keep_freed_memory
    from export.benchmark.config import read_configs
    from export.benchmark.suites import run_benchmark

    wanted = read_configs(configs)
    torch.set_num_threads(threads)
    keep_freed_memory()
    command = f"edge-sdk export benchmark {' '.join(map(str, configs))}"
    say = partial(typer.echo, err=True)
    run_benchmark(wanted, data=data, work=work, out=out, command=command, say=say)
    typer.echo(str(out / "RESULTS.md"))
