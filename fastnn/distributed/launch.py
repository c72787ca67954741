"""How a process learns which rank of which job it is: one record, read in one place.

The first of these that says it wins:

1. arguments of ``init``
2. ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``LOCAL_WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``: ``fastnn run``,
   torchrun, Kubernetes operators
3. ``SLURM_PROCID``, ``SLURM_NTASKS``, ...: srun
4. ``OMPI_COMM_WORLD_RANK``, ...: Open MPI's mpirun
5. ``PMI_RANK``, ...: MPICH's and Intel MPI's mpiexec
6. nothing: a single process

MPI names no place to meet: ranks of one host meet at a name that they derive from their parent, those of several hosts
at MASTER_ADDR and MASTER_PORT or, without these, where rank 0 tells them to through mpi4py.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fastnn import _check

_MPI = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")
_PORTS = 20000  # ports that are derived from a job's number: 20000 to 39999, below those that systems hand out


@dataclass(frozen=True)
class Launch:
    """Who this process is in its job.

    Attributes:
        rank: from 0 to world - 1.
        world: how many ranks there are.
        local_rank: the rank's number on its host, None if the launcher doesn't say.
        local_world: how many ranks run on its host, None if the launcher doesn't say.
        host: the address where rank 0 waits for the others, or ``unix:NAME`` for ranks of one host alone.
        port: the port there.
        secret: what all ranks of the job know and nobody else; "" takes that of the user (see `user_secret`).
        restart: how often the job was restarted.
        source: who said so, for people.
        listening: a descriptor that already listens there, for rank 0; None if there is none.
    """

    rank: int = 0
    world: int = 1
    local_rank: int | None = None
    local_world: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    secret: str = ""
    restart: int = 0
    source: str = "a single process"
    listening: int | None = None


def resolve(
    *,
    rank: int | None = None,
    world_size: int | None = None,
    host: str | None = None,
    port: int | None = None,
    secret: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Launch:
    """The record of this process.

    Args:
        rank, world_size: given together, they are taken and no launcher is asked.
        host, port, secret: override what the launcher says.
        environ: environment variables, the process's own by default.
    """
    of_process, environ = environ is None, os.environ if environ is None else environ
    if (rank is None) != (world_size is None):
        given = "rank alone" if world_size is None else "world_size alone"
        _check.fail("init", "rank and world_size", "given together", given)
    if rank is not None and world_size is not None:
        record = _place(Launch(rank=rank, world=world_size, source="arguments"), environ)
    else:
        found = (read(environ) for read in (_of_torchrun, _of_slurm, _of_open_mpi, _of_pmi))
        record = next((record for record in found if record is not None), Launch())
    record = replace(record, secret=secret if secret is not None else environ.get("FASTNN_SECRET", ""))
    if host is not None:
        record = replace(record, host=host, listening=None)
    if port is not None:
        record = replace(record, port=_check.integer("init", "port", port, 0, 65535), listening=None)
    if of_process and record.source in _MPI and record.world > 1 and _is_nowhere(record):
        from fastnn.distributed import mpi

        record = mpi.agree_on_place(record)
    return _checked(record)


def _checked(record: Launch) -> Launch:
    _check.integer("init", "world_size", record.world, 1)
    _check.integer("init", "rank", record.rank, 0, record.world - 1)
    if record.world > 1 and _is_nowhere(record):
        remedy = "Set MASTER_ADDR and MASTER_PORT, or start the program with `fastnn run`."
        if record.source in _MPI:
            remedy = "Set MASTER_ADDR and MASTER_PORT, or install mpi4py for the MPI whose mpirun this is."
        _check.fail("init", "port", "the same port for all ranks, where rank 0 listens", "none", remedy)
    return record


def _is_nowhere(record: Launch) -> bool:
    return record.port == 0 and not record.host.startswith("unix:") and record.listening is None


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        _check.fail("init", name, "a whole number", repr(text))
    return int(text)


def _rank_and_world(environ: Mapping[str, str], rank: str, world: str) -> tuple[int, int] | None:
    found = _number(environ, rank), _number(environ, world)
    if found[0] is None and found[1] is None:
        return None
    if found[0] is None or found[1] is None:
        missing, other = (rank, world) if found[0] is None else (world, rank)
        _check.fail("init", missing, f"set, as {other} is", "nothing")
    return found[0], found[1]


def _place(record: Launch, environ: Mapping[str, str]) -> Launch:
    """Adds where rank 0 waits, as far as MASTER_ADDR and MASTER_PORT say it."""
    port = _number(environ, "FASTNN_PORT")
    if port is None:
        port = _number(environ, "MASTER_PORT", record.port) or 0
        if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and port > 0:
            port += 1  # torchrun itself listens at MASTER_PORT
    listening = _number(environ, "FASTNN_LISTENING") if record.rank == 0 else None
    return replace(record, host=environ.get("MASTER_ADDR", "") or record.host, port=port, listening=listening)


def _of_torchrun(environ: Mapping[str, str]) -> Launch | None:
    found = _rank_and_world(environ, "RANK", "WORLD_SIZE")
    if found is None:
        return None
    restart = _number(environ, "FASTNN_RESTART", _number(environ, "TORCHELASTIC_RESTART_COUNT", 0)) or 0
    local = _number(environ, "LOCAL_RANK"), _number(environ, "LOCAL_WORLD_SIZE")
    return _place(Launch(*found, *local, restart=restart, source="RANK and WORLD_SIZE"), environ)


def _of_slurm(environ: Mapping[str, str]) -> Launch | None:
    if "SLURM_STEP_ID" not in environ:  # in the batch script itself SLURM_PROCID is 0, though there is one process
        return None
    found = _rank_and_world(environ, "SLURM_PROCID", "SLURM_NTASKS")
    if found is None:
        return None
    counts = re.match(r"\d+", environ.get("SLURM_TASKS_PER_NODE", ""))  # "4(x2),3": those of the first host
    local_world = int(counts[0]) if counts else None
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
    job, step = _number(environ, "SLURM_JOB_ID", 0) or 0, _number(environ, "SLURM_STEP_ID", 0) or 0
    record = Launch(*found, _number(environ, "SLURM_LOCALID"), local_world, source="SLURM_PROCID and SLURM_NTASKS")
    place = replace(record, host=first_node(nodes) or record.host, port=_PORTS + (job + step) % _PORTS)
    return _place(place, environ)


def first_node(nodes: str) -> str:
    """The first name of a SLURM list of hosts: "node07" of "node[07-09,12],other"."""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else ""


def _of_open_mpi(environ: Mapping[str, str]) -> Launch | None:
    found = _rank_and_world(environ, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
    local = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK"), _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE")
    return None if found is None else _of_mpi(Launch(*found, *local, source=_MPI[0]), environ)


def _of_pmi(environ: Mapping[str, str]) -> Launch | None:
    found = _rank_and_world(environ, "PMI_RANK", "PMI_SIZE")
    local = _number(environ, "MPI_LOCALRANKID"), _number(environ, "MPI_LOCALNRANKS")
    return None if found is None else _of_mpi(Launch(*found, *local, source=_MPI[1]), environ)


def _of_mpi(record: Launch, environ: Mapping[str, str]) -> Launch:
    """mpirun names no port: ranks of one host meet at a name that they derive from their common parent."""
    if environ.get("MASTER_ADDR") or record.local_world != record.world:
        return _place(record, environ)
    job = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_ess_base_jobid") or ""
    name = re.sub(r"[^\w-]", "_", f"fastnn-{os.getuid()}-{os.getppid()}-{job}")
    return replace(record, host=f"unix:{name}", port=0)


def machine_id(environ: Mapping[str, str] | None = None) -> str:
    """A text that is the same for processes that can share memory: those of one running kernel and one network.

    ``FASTNN_HOST_ID`` overrides it: ranks with different ids never share memory.
    """
    environ = os.environ if environ is None else environ
    override = environ.get("FASTNN_HOST_ID", "")
    if override:
        return override
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{os.stat('/proc/self/ns/net').st_ino}"


def user_secret(environ: Mapping[str, str] | None = None) -> str:
    """The user's own secret, for launchers that hand over none: a file that only this user can read, made when needed.

    Clusters share the home folder among hosts, so that all ranks find the same one; where they don't, FASTNN_SECRET
    must be set.
    """
    environ = os.environ if environ is None else environ
    folder = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config") / "fastnn"
    path = folder / "secret"
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = folder / f"secret.{os.getpid()}.{secrets.token_hex(4)}"
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_hex(32))
            try:
                os.link(draft, path)  # the first of several ranks wins
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
            _check.fail(
                "init", str(path), "readable by you alone", "a file that others can read", "Run chmod 600 on it."
            )
        return path.read_text()
    except OSError as error:
        remedy = "Set FASTNN_SECRET to the same text for all ranks."
        _check.fail("init", "the job's secret", f"in {path}", str(error), remedy)
