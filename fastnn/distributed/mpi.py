"""What MPI does for ranks that mpirun has started: it tells them where to meet.

Needs mpi4py for the MPI whose mpirun it is: ``pip install 'fastnn-kernels[mpi]'`` brings both, with MPICH.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import replace
from typing import Any

from fastnn.distributed.launch import Launch

_NOWHERE = "192.0.2.1"  # of a network for documentation: the way there is the way to anywhere else


def world_of(record: Launch) -> Any:
    """COMM_WORLD, None where mpi4py isn't there or is that of another MPI than the one that started the job."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):  # RuntimeError: no library of MPI is found
        return None
    world = MPI.COMM_WORLD
    return world if (world.Get_rank(), world.Get_size()) == (record.rank, record.world) else None


def agree_on_place(record: Launch) -> Launch:
    """The record with where rank 0 waits and, if it has none, a new secret; all ranks call it.

    Rank 0 takes any free port of the address that the other hosts see, or of MASTER_ADDR if that is set. Nothing
    changes where COMM_WORLD doesn't hold these ranks.
    """
    world = world_of(record)
    if world is None:
        return record
    hosts = world.gather(socket.gethostname())
    if record.rank:
        host, port, secret = world.bcast(None)
        return replace(record, host=host, port=port, secret=record.secret or secret)
    host = os.environ.get("MASTER_ADDR", "") or address_for(hosts)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
        place = (host, server.getsockname()[1], secrets.token_hex(32))
    except OSError as error:
        world.bcast((host, 0, ""))  # the others fail, too
        raise OSError(f"init: MASTER_ADDR must be an address of rank 0's host, got {host!r} ({error})") from None
    world.bcast(place)
    return replace(record, host=host, port=place[1], secret=record.secret or place[2], listening=server.detach())


def address_for(hosts: list[str]) -> str:
    """The address at which the first of these hosts, which is this one, is seen by the others."""
    others = [host for host in hosts if host != hosts[0]]
    if not others:
        return "127.0.0.1"
    for target in (*others, _NOWHERE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # sends nothing; the kernel chooses the way, and with it the address
            except OSError:  # no such name, or no way there
                continue
            address = str(probe.getsockname()[0])
            if not address.startswith("127."):
                return address
    return socket.gethostbyname(hosts[0])
