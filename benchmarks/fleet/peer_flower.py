"""Flower's simulation on the same work, in its own environment: `peer_flower.py MODE CLIENTS N`.

N rounds in the one mode "plain" (mean). The link between server and nodes is the one in memory, and
a client neither clips nor adds noise: both spare it work. Ray runs one process a core, and the
environment variable FLEET_RUN tells this run's processes from others (`overhead.py` sets it). CPU
time is summed over them all, from the end of the first round to the end of the last, so that
starting them is no part of it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from work import DIM, local_update

MARK = "FLEET_RUN"
_CLOCK_HZ = os.sysconf("SC_CLK_TCK")
_UTIME, _CSTIME = 11, 14  # of a process's stat, counted from its state


def cpu_s_of_run(mark: str) -> float:
    """CPU seconds of all processes that carry the mark, and of their children that have ended."""
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended, or is another user's
            continue
        total += sum(int(value) for value in ticks[_UTIME : _CSTIME + 1])
    return total / _CLOCK_HZ


def run(clients: int, rounds: int, mark: str) -> dict[str, float]:
    """Run `rounds` rounds of `clients` clients; all but the first count."""
    client_app, server_app = ClientApp(), ServerApp()
    marks: list[tuple[int, float]] = []

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        vector = message.content["arrays"].to_numpy_ndarrays()[0]
        moved = vector + local_update(vector, int(context.node_config["partition-id"]))
        reply = {
            "arrays": ArrayRecord([moved]),
            "metrics": MetricRecord({"num-examples": 1}),
        }
        return Message(RecordDict(reply), reply_to=message)

    class Counted(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            taken = list(replies)
            result = super().aggregate_train(server_round, taken)
            usable = sum(not reply.has_error() for reply in taken)
            marks.append((usable, cpu_s_of_run(mark)))
            return result

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        strategy = Counted(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=clients,
            min_available_nodes=clients,
        )
        start = ArrayRecord([np.zeros(DIM, np.float32)])
        strategy.start(grid=grid, initial_arrays=start, num_rounds=rounds, timeout=600.0)

    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=clients,
        backend_config={
            "init_args": {"num_cpus": os.cpu_count(), "include_dashboard": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    return {
        "updates": sum(usable for usable, _ in marks[1:]),
        "cpu_s": marks[-1][1] - marks[0][1],
    }


if __name__ == "__main__":
    json.dump(run(int(sys.argv[2]), int(sys.argv[3]), os.environ[MARK]), sys.stdout)
