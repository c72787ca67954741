"""Several ranks on one real GPU, each a process: collectives over memory that they share by cudaIpc, and `fit`."""

import numpy as np
import pytest
from device_ranks import EVERYTHING, check_everything, run_on_one_card, script_of
from test_parallel_gpu_training import TRAINED

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("world", [2, 4])
def test_ring(world, tmp_path):
    out = run_on_one_card(tmp_path, script_of(EVERYTHING), world)
    check_everything(out, world)
    assert all(ways == ["DeviceRing"] for _, ways in out)


def test_messages_go_round_the_slots_many_times(tmp_path):
    """25 million floats are three turns of the four slots of 4 MB for each half, in a stream of its own."""
    script = """
import hashlib
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    a = cupy.arange(25_000_003, dtype=cupy.float32) % 1000 + rank
    for _ in range(3):
        comm.all_reduce(a, "mean")
stream.synchronize()
say([bool((a == cupy.arange(25_000_003, dtype=cupy.float32) % 1000 + 0.5).all()),
     hashlib.sha256(host(a).tobytes()).hexdigest()])
"""
    (right, first), (also_right, second) = (said[0] for said in run_on_one_card(tmp_path, script, 2))
    assert right and also_right and first == second


def test_training(tmp_path):
    """Graphs and single launches give the same bits on all ranks, and what the CPU gives but for rounding."""
    script = TRAINED.replace("SAMPLES", "51")
    script += """
say([trained(), trained(device="cuda"), trained(device="cuda", capture=False)])
"""
    out = [said[0] for said in run_on_one_card(tmp_path, script, 2)]
    on_cpu, by_graphs, eager = out[0]
    assert by_graphs == eager and out[1][1][1] == by_graphs[1], "ranks have different weights"
    for ours, reference in zip(by_graphs[1], on_cpu[1], strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(reference), rtol=1e-3, atol=1e-4)
