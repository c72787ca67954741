"""Ray Train starts the ranks, on the nodes of a cluster, and starts them anew when one fails, on more or fewer nodes.

from fastnn.distributed import ray

result = ray.trainer(loop, workers=4, storage="/shared/runs", max_failures=3).fit()

`loop` is the program that each rank runs: it calls `fastnn.distributed.init()` and, for a restart to go on from the
last epoch, gives `fit` the callback `fastnn.callbacks.RayCheckpoint()`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from fastnn import _check

_KEPT = 2  # checkpoints: as many as BackupAndRestore keeps


class FastnnBackend(Backend):
    """Tells each worker which rank it is, where all meet, and a new secret."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Called with each new set of workers, before they train."""
        host, port = worker_group.execute_single(0, _listen)
        world, secret = len(worker_group), secrets.token_hex(32)
        common = {"WORLD_SIZE": str(world), "MASTER_ADDR": host, "MASTER_PORT": str(port), "FASTNN_SECRET": secret}
        ray.get([worker_group.execute_single_async(rank, _set, {**common, "RANK": str(rank)}) for rank in range(world)])

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Called once Ray has told the workers their places."""
        worker_group.execute(_set_local_rank)


class FastnnConfig(BackendConfig):
    """The backend of ``DataParallelTrainer`` for programs that call `fastnn.distributed.init`."""

    @property
    def backend_cls(self) -> type[Backend]:
        return FastnnBackend


def trainer(
    loop: Callable[..., Any],
    workers: int | tuple[int, int],
    storage: Any,
    max_failures: int = 0,
    *,
    config: dict[str, Any] | None = None,
    name: str | None = None,
    resources_per_worker: dict[str, float] | None = None,
    placement_strategy: str = "PACK",
) -> DataParallelTrainer:
    """What trains a program on the workers of a Ray cluster when its ``fit()`` is called.

    Args:
        loop: the program of a rank, a function without arguments or of `config`.
        workers: how many ranks, or (least, most): as many as the cluster has room for at each start, and when a node
            comes or goes.
        storage: a folder that all nodes see, or a URL such as "s3://bucket/runs": for what ``RayCheckpoint`` saves.
        max_failures: how often all ranks start anew after one has failed; -1 sets no limit.
        config: what `loop` is called with.
        name: of the run; a program that is started again with the same name goes on from its last checkpoint.
        resources_per_worker: {"CPU": 1} by default.
        placement_strategy: "PACK" fills one node after the other, "SPREAD" spreads the ranks over them.

    Returns:
        ray.train's DataParallelTrainer; ``fit()`` returns ray.train.Result, with the metrics and the checkpoint of the
        last epoch, or raises ray.train.TrainingFailedError.
    """
    elastic = isinstance(workers, tuple)
    if elastic and not hasattr(ScalingConfig, "elasticity_enabled"):
        remedy = "Install a newer Ray for a pair."
        _check.fail("ray.trainer", "workers", f"a whole number with Ray {ray.__version__}", repr(workers), remedy)
    least, most = workers if isinstance(workers, tuple) and len(workers) == 2 else (workers, workers)
    least = _check.integer("ray.trainer", "workers", least, 1)
    most = _check.integer("ray.trainer", "workers", most, least)
    max_failures = _check.integer("ray.trainer", "max_failures", max_failures, -1)
    if not callable(loop):
        _check.fail("ray.trainer", "loop", "a function", repr(loop), error=TypeError)
    return DataParallelTrainer(
        loop,
        train_loop_config=config,
        backend_config=FastnnConfig(),
        scaling_config=ScalingConfig(
            num_workers=(least, most) if elastic else most,
            resources_per_worker=resources_per_worker,
            placement_strategy=placement_strategy,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=os.fspath(storage),
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT),
        ),
    )


def _listen() -> tuple[str, int]:
    """In rank 0's process: a port that nobody can take before it joins, at the address that the other nodes see."""
    host = ray.util.get_node_ip_address()
    server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port = int(server.getsockname()[1])
    os.environ["FASTNN_LISTENING"] = str(server.detach())
    return host, port


def _set(variables: dict[str, str]) -> None:
    os.environ.update(variables)  # by a function: the worker would get a copy of os.environ with its method


def _set_local_rank() -> None:
    context = ray.train.get_context()
    _set({"LOCAL_RANK": str(context.get_local_rank()), "LOCAL_WORLD_SIZE": str(context.get_local_world_size())})
