"""Several ranks on one card: the ring all-reduce over cudaIpc memory, for a few sizes; a JSON object a line.

The ranks share the card and its memory's bandwidth: this shows that the ring works and what a message costs, not how
fast it would be between cards.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RANKS, COUNTS, REPEATS = 2, (1 << 10, 1 << 18, 1 << 22, 25_000_000), 20


def rank():
    """One rank; rank 0 prints."""
    import cupy

    sys.path.insert(0, str(ROOT))
    from fastnn import distributed

    comm = distributed.init(join_timeout=60)
    for count in COUNTS:
        array, times = cupy.ones(count, cupy.float32), []
        for _ in range(REPEATS):
            array.fill(1)
            cupy.cuda.runtime.deviceSynchronize()
            comm.barrier()
            begin = time.perf_counter()
            comm.all_reduce(array)
            cupy.cuda.runtime.deviceSynchronize()
            times.append(time.perf_counter() - begin)
        right = bool((array == comm.world_size).all())
        if comm.rank == 0:
            found = {"what": "ranks", "ranks": comm.world_size, "count": count, "right": right}
            print(json.dumps({**found, "seconds": statistics.median(times)}), flush=True)
    return 0


def main():
    """Starts the ranks; returns 1 if one fails."""
    shared = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": f"unix:fastnn-{secrets.token_hex(8)}"}
    shared["FASTNN_SECRET"] = secrets.token_hex(16)
    command = [sys.executable, __file__, "rank"]
    processes = [subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(r)}) for r in range(RANKS)]
    return max(abs(process.wait()) for process in processes) and 1


if __name__ == "__main__":
    sys.exit(rank() if sys.argv[1:] == ["rank"] else main())
