"""Programs that mpirun starts, unchanged: MPICH's, from PyPI, with the tests' other requirements."""

import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from rank_processes import PACKAGE

from fastnn.distributed import launch, mpi

LIMIT = 60
MPIRUN = Path(sysconfig.get_path("scripts")) / "mpirun"


@pytest.fixture
def mpirun(tmp_path):
    """A function that runs a program's text on n ranks: (exit code, what they print)."""
    if not MPIRUN.exists():
        pytest.skip(f"there is no {MPIRUN}: pip install mpich mpi4py")

    def run(ranks, program, *options, **variables):
        (tmp_path / "train.py").write_text(program)
        left_out = ("RANK", "WORLD", "MASTER", "FASTNN_SECRET", "PMI", "OMPI")
        env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        env.update(variables, PYTHONPATH=str(PACKAGE.parent), XDG_CONFIG_HOME=str(tmp_path / "config"))
        command = [MPIRUN, *options, "-n", str(ranks), sys.executable, "train.py"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            process.terminate()  # which mpirun hands on to its ranks
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.returncode, out, err

    return run


TRAIN = """
import numpy as np
from fastnn import distributed, layers, models
comm = distributed.init(join_timeout=30)
rng = np.random.default_rng(3)
x, y = rng.standard_normal((64, 6)).astype(np.float32), rng.integers(0, 3, 64)
model = models.Sequential([layers.Dense(3, activation="softmax", input_shape=(6,))])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, y, epochs=2, verbose=0)
total = np.concatenate([w.ravel() for w in model.get_weights()])
mine = total.copy()
comm.all_reduce(total, "max")
print(f"{comm.rank} of {comm.world_size}: {comm.hosts} hosts {bool((total == mine).all())} {comm.launch.source}"
      + chr(10), end="", flush=True)
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_program_trains_unchanged(mpirun, ranks):
    code, out, err = mpirun(ranks, TRAIN)
    assert code == 0, err
    assert sorted(out.splitlines()) == [f"{rank} of {ranks}: 1 hosts True PMI_RANK" for rank in range(ranks)]


APART = "import os\nos.environ['FASTNN_HOST_ID'] = os.environ['PMI_RANK']\nos.environ['MPI_LOCALNRANKS'] = '1'\n"


def test_ranks_of_several_hosts_are_told_where_to_meet(mpirun):
    """No MASTER_ADDR, no secret: rank 0 tells both through MPI. The ranks take each other for other hosts."""
    code, out, err = mpirun(3, APART + TRAIN.replace("comm.launch.source", "len(comm.launch.secret)"))
    assert code == 0, err
    assert sorted(out.splitlines()) == [f"{rank} of 3: 3 hosts True 64" for rank in range(3)]


@pytest.mark.parametrize("variables", [{"MASTER_ADDR": "127.0.0.1"}, {"FASTNN_SECRET": "x" * 64}], ids=str)
def test_what_the_environment_says_is_kept(mpirun, variables):
    program = APART + TRAIN.replace("comm.launch.source", "comm.launch.host, len(comm.launch.secret)")
    code, out, err = mpirun(2, program, **variables)
    assert code == 0, err
    assert sorted(out.splitlines()) == [f"{rank} of 2: 2 hosts True ('127.0.0.1', 64)" for rank in range(2)]


def test_an_address_of_another_host_is_an_error_on_all_ranks(mpirun):
    program = (
        APART
        + """
from fastnn import distributed
try:
    distributed.init()
except (OSError, ValueError) as error:
    print(str(error) + chr(10), end="", flush=True)
"""
    )
    _, out, err = mpirun(2, program, MASTER_ADDR="192.0.2.1")
    first, second = sorted(out.splitlines())
    assert "MASTER_ADDR must be an address of rank 0's host, got '192.0.2.1'" in first, err
    assert "init: port must be the same port for all ranks" in second


def test_without_mpi4py_ranks_of_several_hosts_say_what_is_missing():
    environ = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "1"}
    with pytest.raises(ValueError, match="Set MASTER_ADDR and MASTER_PORT, or install mpi4py for the MPI whose mpirun"):
        launch.resolve(environ=environ)


def test_rank_0_can_listen_at_the_address_that_other_hosts_see():
    assert mpi.address_for(["here", "here"]) == "127.0.0.1"
    with socket.create_server((mpi.address_for([socket.gethostname(), "localhost"]), 0)) as server:
        assert server.getsockname()[1] > 0
