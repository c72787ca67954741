"""How ranks find each other, and who is kept out."""

import contextlib
import socket
import time

import pytest
from rank_processes import Ranks, run_ranks

from fastnn import distributed
from fastnn.distributed import launch

MEET = """
def meet():
    global comm
    comm = distributed.init(**json.loads(os.environ["INIT"]))
error = fails(meet)
say(error)
if not error["type"]:
    comm.barrier()
    say(comm.world_size)
"""


# Rank 0's time begins once the others are about to come: on a loaded machine they may start seconds apart.
TOGETHER = """
from pathlib import Path
others = [f"ready-{number}" for number in os.environ["OTHERS"].split()]
if os.environ["RANK"] == "0":
    while not all(Path(other).exists() for other in others):
        time.sleep(0.01)
else:
    Path(f"ready-{os.environ['RANK']}").touch()
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def tcp(port):
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@pytest.fixture
def port():
    return free_port()


def test_ranks_meet_at_a_port(tmp_path, port):
    results = run_ranks(tmp_path, MEET, 3, join=False, env=tcp(port))
    assert [result[1] for result in results] == [3] * 3


def test_rank_0_listens_at_one_address_alone(tmp_path, port):
    with Ranks(tmp_path, MEET, 1, join=False, env={**tcp(port), "WORLD_SIZE": "2"}, join_timeout=20) as ranks:
        connected(port).close()
        other = socket.gethostbyname_ex(socket.gethostname())[2]
        for address in [address for address in other if not address.startswith("127.")]:
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=1)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=1)
        ranks.kill(0)


def connected(port):
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_strangers_are_dropped_and_stall_nobody(tmp_path, port):
    """They come first: one is silent, the others send garbage, an endless answer, right words with a wrong proof."""
    only_0 = {**tcp(port), "WORLD_SIZE": "2"}
    with Ranks(tmp_path, MEET, 1, join=False, env=only_0) as first, contextlib.ExitStack() as stack:
        silent, garbage, endless, forger = (stack.enter_context(connected(port)) for _ in range(4))
        for stranger in (silent, garbage, endless, forger):
            challenge = stranger.recv(100)
            assert len(challenge) == 20 and challenge[:4] == b"FNN1"
        garbage.sendall(b"GET / HTTP/1.1\r\n")
        assert ended(garbage)
        with contextlib.suppress(OSError):
            for _ in range(100):
                endless.sendall(b"fnn1" + b"x" * 1000)
                time.sleep(0.01)
        assert ended(endless)
        forger.sendall(b"fnn1" + b"n" * 16 + b"p" * 32)
        assert ended(forger)
        begin = time.monotonic()
        assert ended(silent) and time.monotonic() - begin < 30  # after 5 s
        join = {**only_0, "RANK": "1"}
        with Ranks(tmp_path, MEET, 1, join=False, each=lambda rank: join) as second:
            assert first.results()[0][1] == second.results()[0][1] == 2


def ended(stranger):
    try:
        return stranger.recv(100) == b""
    except ConnectionError:
        return True


def test_a_wrong_secret_is_refused(tmp_path, port):
    def each(rank):
        return {**tcp(port), "FASTNN_SECRET": f"secret {rank}", "OTHERS": "1"}

    results = run_ranks(tmp_path, TOGETHER + MEET, 2, join=False, each=each, join_timeout=4)
    (rank_0,), (rank_1,) = results
    assert rank_1["type"] == "RendezvousError" and "the secrets of rank 0 at 127.0.0.1" in rank_1["text"]
    assert "and of rank 1 differ; set FASTNN_SECRET" in rank_1["text"] and rank_1["after"] < rank_0["after"]
    assert rank_0["type"] == "RendezvousError" and "within 4 s: 1" in rank_0["text"]


def test_missing_ranks_are_listed_to_all_that_came(tmp_path, port):
    def each(rank):
        return {**tcp(port), "WORLD_SIZE": "5", "RANK": str(2 * rank), "OTHERS": "2"}

    for (error,) in run_ranks(tmp_path, TOGETHER + MEET, 2, join=False, each=each, join_timeout=4):
        assert error["type"] == "RendezvousError" and error["after"] >= 3
        assert f"init: 3 of 5 ranks did not come to 127.0.0.1:{port} within 4 s: 1, 3, 4" in error["text"]


def test_a_taken_port_is_named_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        env = {**tcp(port), "WORLD_SIZE": "2"}
        ((error,),) = run_ranks(tmp_path, MEET, 1, join=False, env=env)
    assert error["type"] == "RendezvousError" and error["after"] < 10
    assert f"the port of the rendezvous is taken: another program listens at 127.0.0.1:{port}" in error["text"]


def test_other_mistakes_are_named(tmp_path, port):
    env = {**tcp(port), "MASTER_ADDR": "192.0.2.7"}
    ((error,),) = run_ranks(tmp_path, MEET, 1, join=False, env={**env, "WORLD_SIZE": "2"})
    assert "192.0.2.7 isn't an address of this machine, where rank 0 runs" in error["text"]
    env = {**tcp(port), "RANK": "1", "WORLD_SIZE": "2"}
    ((error,),) = run_ranks(tmp_path, MEET, 1, join=False, each=lambda rank: env, join_timeout=0.5)
    assert f"rank 0 at 127.0.0.1:{port} can't be reached within 0 s (Connection refused)" in error["text"]
    with Ranks(tmp_path, MEET, 1, join=False, each=lambda rank: env, join_timeout=20) as ranks:
        with socket.create_server(("127.0.0.1", port)) as server:
            guest, _ = server.accept()
            guest.sendall(b"HTTP/1.1 400 Bad Request\r\n")
            ((error,),) = ranks.results()
            guest.close()
    assert "a program that isn't fastnn answers as rank 0 at" in error["text"]


def test_two_ranks_of_one_number_and_a_wrong_world(tmp_path):
    """Each is refused with the reason; the right ones meet."""
    script = MEET
    with Ranks(tmp_path, script, 2, join=False, each=lambda rank: {"WORLD_SIZE": "3"}) as ranks:
        name = {"MASTER_ADDR": f"unix:{ranks.name}"}
        time.sleep(1.0)

        def late(rank, world):
            each = {**name, "RANK": str(rank), "WORLD_SIZE": str(world)}
            return run_ranks(tmp_path, script, 1, join=False, each=lambda _: each)[0]

        (wrong_world,) = late(2, 4)
        assert "rank 2 was started for 4 ranks, rank 0 for 3" in wrong_world["text"]
        joined = late(2, 3)
        assert joined[1] == 3
        assert [result[1] for result in ranks.results()] == [3, 3]


@pytest.mark.parametrize(
    "environ, wanted",
    [
        ({}, (0, 1, None, None, "127.0.0.1", 0)),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "5"},
            (1, 2, 1, 2, "127.0.0.1", 5),
        ),
        (
            {
                "RANK": "1",
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "n1",
                "MASTER_PORT": "29500",
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            },
            (1, 2, None, None, "n1", 29501),
        ),
        (
            {
                "RANK": "0",
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "n1",
                "MASTER_PORT": "29500",
                "FASTNN_PORT": "7",
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "1",
                "SLURM_NTASKS": "9",
            },
            (0, 2, None, None, "n1", 7),
        ),
        (
            {
                "SLURM_STEP_ID": "1",
                "SLURM_PROCID": "5",
                "SLURM_NTASKS": "8",
                "SLURM_LOCALID": "1",
                "SLURM_TASKS_PER_NODE": "4(x2)",
                "SLURM_STEP_NODELIST": "node[07-08],other",
                "SLURM_JOB_ID": "41234",
            },
            (5, 8, 1, 4, "node07", 21235),
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1, None, None, "127.0.0.1", 0)),
        (
            {
                "OMPI_COMM_WORLD_RANK": "2",
                "OMPI_COMM_WORLD_SIZE": "3",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
                "MASTER_ADDR": "n2",
                "MASTER_PORT": "99",
            },
            (2, 3, 0, 1, "n2", 99),
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "1", "MASTER_PORT": "9"},
            (1, 2, 1, 1, "127.0.0.1", 9),
        ),
    ],
)
def test_the_launch_record_is_read_from_the_environment(environ, wanted):
    record = launch.resolve(environ=environ)
    assert (record.rank, record.world, record.local_rank, record.local_world, record.host, record.port) == wanted


LAUNCHERS = {  # in the order in which they are asked; each with a rank of its own
    "RANK": {"RANK": "1", "WORLD_SIZE": "9"},
    "SLURM": {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "9"},
    "OMPI": {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "9"},
    "PMI": {"PMI_RANK": "4", "PMI_SIZE": "9"},
}


@pytest.mark.parametrize("first", range(len(LAUNCHERS)))
def test_launchers_are_asked_in_their_order(first):
    environ = {"MASTER_ADDR": "n1", "MASTER_PORT": "9"}
    for given in list(LAUNCHERS.values())[first:]:
        environ |= given
    assert launch.resolve(environ=environ).rank == first + 1
    assert launch.resolve(rank=7, world_size=9, environ=environ).rank == 7


def test_mpirun_on_one_host_needs_no_port():
    environ = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    records = [launch.resolve(environ={**environ, "PMI_RANK": rank, "MPI_LOCALRANKID": rank}) for rank in "01"]
    assert records[0].host == records[1].host and records[0].host.startswith("unix:fastnn-")


def test_arguments_win_over_the_environment():
    environ = {"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "n1", "MASTER_PORT": "1", "FASTNN_SECRET": "a"}
    record = launch.resolve(rank=2, world_size=3, host="n3", port=7, secret="b", environ=environ)
    assert (record.rank, record.world, record.host, record.port, record.secret) == (2, 3, "n3", 7, "b")
    assert launch.resolve(environ=environ).secret == "a"


@pytest.mark.parametrize(
    "environ, message",
    [
        ({"RANK": "1"}, "init: WORLD_SIZE must be set, as RANK is, got nothing"),
        ({"WORLD_SIZE": "1"}, "init: RANK must be set, as WORLD_SIZE is, got nothing"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "init: RANK must be a whole number, got 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "init: rank must be a whole number from 0 to 1, got 2"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "init: port must be the same port for all ranks.* Set MASTER_ADDR and"),
    ],
)
def test_mistakes_of_launchers_are_named(environ, message):
    with pytest.raises(ValueError, match=message):
        launch.resolve(environ=environ)


def test_rank_and_world_belong_together():
    with pytest.raises(ValueError, match="init: rank and world_size must be given together, got rank alone"):
        distributed.Communicator(1)


def test_the_users_secret_is_his_alone(tmp_path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    secret = launch.user_secret(environ)
    path = tmp_path / "fastnn" / "secret"
    assert len(secret) == 64 and path.stat().st_mode & 0o777 == 0o600 and list(path.parent.iterdir()) == [path]
    assert launch.user_secret(environ) == secret
    path.chmod(0o644)
    with pytest.raises(ValueError, match="secret must be readable by you alone, got a file that others can read"):
        launch.user_secret(environ)


def test_a_group_of_one_needs_nobody(monkeypatch):
    import numpy as np

    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    with distributed.Communicator() as comm:
        array = np.arange(5.0)
        comm.all_reduce(array, "mean")
        assert comm.world_size == 1 and array.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(distributed.CommunicatorClosed, match="the communicator is closed"):
        comm.barrier()
