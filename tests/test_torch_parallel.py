"""fastnn.torch.DataParallel: the gradients of all ranks' samples together, bucket by bucket."""

import pytest
from rank_processes import Ranks, run_ranks

torch = pytest.importorskip("torch")

MODEL = """
import torch
import fastnn.torch
torch.set_num_threads(1)
def network(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 50), torch.nn.BatchNorm1d(50), torch.nn.Tanh(), torch.nn.Linear(50, 3)).to(dtype).eval()
rng = np.random.default_rng(1)
x = torch.from_numpy(rng.standard_normal((8 * world, 6)).astype(np.float32))
y = torch.from_numpy(rng.standard_normal((8 * world, 3)).astype(np.float32))
own = slice(8 * rank, 8 * rank + 8)
def loss_of(model, rows):
    return ((model(x[rows]) - y[rows]) ** 2).mean()
"""


@pytest.mark.parametrize("set_to_none", [True, False])
def test_training_is_that_of_all_samples_together(tmp_path, set_to_none):
    script = f"""{MODEL}
import fastnn.torch.parallel as parallel
parallel._BUCKET = 500   # several buckets
model = fastnn.torch.DataParallel(network(seed=rank))
assert len(model._buckets) > 2
reference = network(seed=0)
optimizers = [fastnn.torch.AdamW(m.parameters(), lr=0.01) for m in (model, reference)]
for _ in range(5):
    for m, optimizer, rows in ((model, optimizers[0], own), (reference, optimizers[1], slice(None))):
        optimizer.zero_grad(set_to_none={set_to_none})
        loss_of(m, rows).backward()
        optimizer.step()
for a, b in zip(model.parameters(), reference.parameters()):
    assert torch.allclose(a, b, rtol=0, atol=1e-5), (a - b).abs().max()
flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
whole = torch.zeros(world * flat.numel())
comm.all_gather(flat, whole)
assert all(torch.equal(part, flat) for part in whole.view(world, -1))
assert list(model.state_dict()) == ["module." + name for name in reference.state_dict()]
say("done")
"""
    assert run_ranks(tmp_path, script, 2) == [["done"]] * 2


def test_gradients_add_up_without_synchronization(tmp_path):
    script = f"""{MODEL}
model, reference = fastnn.torch.DataParallel(network()), network()
with model.no_sync():
    (loss_of(model, own) / 2).backward()
(loss_of(model, own) / 2).backward()
loss_of(reference, slice(None)).backward()
for a, b in zip(model.parameters(), reference.parameters()):
    assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6)
say("done")
"""
    assert run_ranks(tmp_path, script, 3) == [["done"]] * 3


def test_parameters_without_a_gradient_on_some_ranks(tmp_path):
    """Rank 1 uses the second branch, the others the first: both branches get the mean."""
    script = """
import torch
import fastnn.torch
class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
        self.low = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    def forward(self):
        return (self.b if rank == 1 else self.a).sum() + self.low.sum() * 2
model = fastnn.torch.DataParallel(Branches())
for _ in range(2):
    model.zero_grad()
    model().backward()
say([p.grad.tolist() for p in model.parameters()])
"""
    third, two_thirds = float(torch.tensor(1.0) / 3), float(torch.tensor(2.0) / 3)
    assert run_ranks(tmp_path, script, 3) == [[[[two_thirds] * 2, [third] * 3, [2.0] * 4]]] * 3


def test_a_rank_killed_in_training_is_an_error_of_backward(tmp_path):
    script = f"""{MODEL}
model = fastnn.torch.DataParallel(network())
loss_of(model, own).backward()
say("ready")
if rank == 1:
    time.sleep(1000)
say(fails(lambda: loss_of(model, own).backward()))
"""
    with Ranks(tmp_path, script, 2) as ranks:
        assert [ranks.heard(rank) for rank in range(2)] == ["ready"] * 2
        ranks.kill(1)
        error = ranks.heard(0)
    assert error["type"] == "RankDied" and error["rank"] == 1


def test_it_needs_a_group():
    import fastnn.torch

    with pytest.raises(ValueError, match="DataParallel: comm must be a group of ranks, got None. Call"):
        fastnn.torch.DataParallel(torch.nn.Linear(2, 2))
