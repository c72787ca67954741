"""The model of all-reduce among many ranks."""

import json
import re

import pytest


@pytest.fixture
def simulation(bench_script):
    return bench_script("simulation")


@pytest.mark.parametrize("ranks", [2, 3, 8, 13])
def test_undisturbed_rings_take_what_the_formula_says(simulation, ranks):
    link, local = simulation.Link(2e-5, 1e-9), simulation.Link(1e-6, 1e-10)
    for size in (0, 1000, 1e8):
        assert simulation.ring(ranks, size, link) == pytest.approx(simulation.ring_formula(ranks, size, link))
        wanted = simulation.hierarchical_formula(ranks, size, link, local, 4)
        assert simulation.hierarchical(ranks, size, link, local, 4) == pytest.approx(wanted)


def test_a_ring_of_two_by_hand(simulation):
    link = simulation.Link(1.0, 0.5)
    assert simulation.ring(2, 8, link) == 2 * (1 + 4 * 0.5)
    late = simulation.Disturbance(slow={1: 3.0})
    assert simulation.ring(2, 8, link, late) == 2 * 3 * (1 + 4 * 0.5)  # each step waits for the slower one


def test_trees_by_hand(simulation):
    link = simulation.Link(1.0, 0.0)
    assert simulation.tree(1, 5, link) == 0
    assert simulation.tree(2, 5, link, pieces=1) == 2  # up, down
    assert simulation.tree(2, 5, link, pieces=3) == 4  # the first one goes down while the second one goes up
    assert simulation.tree(3, 5, link, pieces=1) == 4  # the root takes in two, one after the other, and sends two
    assert simulation.tree(7, 5, link, pieces=1) == 8
    assert simulation.double_tree(2, 5, link, pieces=1) == 2


@pytest.mark.parametrize("ranks", [7, 15, 63, 200])
def test_undisturbed_trees_take_about_what_the_formulas_say(simulation, ranks):
    """A ragged last level makes them a little faster, messages that meet a little slower."""
    link = simulation.Link(2e-5, 1e-9)
    for size in (1000, 1e6, 3e7):
        for algorithm in ("tree", "double_tree"):
            wanted = getattr(simulation, f"{algorithm}_formula")(ranks, size, link)
            assert getattr(simulation, algorithm)(ranks, size, link) == pytest.approx(wanted, rel=0.2)


def test_pieces_are_chosen_well(simulation):
    link, ranks, size = simulation.Link(2e-5, 1e-9), 31, 1e7
    for algorithm in ("tree", "double_tree"):
        simulate, pieces = getattr(simulation, algorithm), getattr(simulation, f"{algorithm}_pieces")
        best = simulate(ranks, size, link)
        for factor in (0.3, 3):
            assert best < simulate(ranks, size, link, pieces=round(pieces(ranks, size, link) * factor))


def test_all_messages_of_a_tree_arrive(simulation):
    """With free messages, all that counts is when the last rank begins."""
    free = simulation.Link(0.0, 0.0)
    for ranks in (2, 5, 16):
        skew = simulation.Disturbance(skew=1.0, seed=3)
        last = simulation.Disturbance(skew=1.0, seed=3).starts(ranks).max()
        assert simulation.tree(ranks, 1, free, skew, 4) == pytest.approx(last)
        skew = simulation.Disturbance(skew=1.0, seed=3)
        assert simulation.ring(ranks, 1, free, skew) == pytest.approx(last)


def test_disturbances_cost_time(simulation):
    link, local = simulation.Link(2e-5, 1e-9), simulation.Link(1e-6, 1e-10)
    for run in (
        simulation.ring,
        simulation.tree,
        simulation.double_tree,
        lambda ranks, size, link, how=None: simulation.hierarchical(ranks, size, link, local, 4, how),
    ):
        plain = run(16, 1e6, link)
        for options in ({"noise": 1e-4}, {"skew": 1e-2}, {"slow": {2: 3.0, 99: 9.0}}):
            found = [run(16, 1e6, link, simulation.Disturbance(**options)) for _ in range(2)]
            assert found[0] == found[1] > plain, options
    noise = simulation.Disturbance(noise=1e-3)
    ratio = [run(64, 4096, link, noise) / run(64, 4096, link) for run in (simulation.ring, simulation.tree)]
    assert ratio[0] > 10 and simulation.ring(64, 4096, link, noise) > 5 * simulation.tree(64, 4096, link, noise)


def test_latency_and_bandwidth_are_fitted(bench_script):
    scaling = bench_script("scaling")
    sizes = [4096, 65536, 1 << 20, 100_000_000]
    assert scaling.fit(sizes, [3e-6 + 2e-9 * size for size in sizes]) == (pytest.approx(3e-6), pytest.approx(2e-9))
    latency, slope = scaling.fit(sizes, [2e-9 * size - 5e-6 for size in sizes])
    assert latency == 0 and slope == pytest.approx(2e-9, rel=0.5)
    link = scaling.fit_ring({size: 2 * (5e-6 + size / 2 * 1e-9) for size in sizes})
    assert link.alpha == pytest.approx(5e-6) and link.beta == pytest.approx(1e-9)
    memory = scaling.fit_memory({size: 1e-6 + size * 1e-10 for size in sizes[:3]} | {100_000_000: 2e-2})
    assert memory.time(1 << 20) == pytest.approx(1e-6 + (1 << 20) * 1e-10) and memory.time(1e8) == pytest.approx(2e-2)
    assert memory.scaled(2).time(1e8) == pytest.approx(4e-2)
    assert scaling.shared_cores(link, 2, 2) == link
    assert scaling.shared_cores(link, 4, 2).alpha == pytest.approx(1e-5)


def test_scaling_makes_its_page(bench_script, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    scaling = bench_script("scaling")
    sizes = [4096, 1 << 20, 100_000_000]
    for ranks in (2, 4):
        ring = {size: 2 * (ranks - 1) * (2e-5 + size / ranks * 1e-9) * ranks / 2 for size in sizes}
        mapped = {size: (1e-6 + size * 1e-10) * ranks / 2 for size in sizes}
        for name, seconds in (("shared", {"ring": ring, "mapped": mapped}), ("tcp", {"fastnn": ring})):
            saved = {"ranks": ranks, "cpus": 2, "seconds": seconds}
            (tmp_path / f"{name}{ranks}.json").write_text(json.dumps(saved))
    page, plot = tmp_path / "page.md", tmp_path / "plot.svg"
    page.write_text("".join(f"<!-- table: {name} -->\nx\n<!-- end -->\n" for name in ("links", "check", "winners")))
    files = [[str(path) for path in sorted(tmp_path.glob(f"{name}*.json"))] for name in ("shared", "tcp")]
    arguments = ["--shared", *files[0], "--tcp", *files[1], "--page", str(page), "--plot", str(plot)]
    assert scaling.main([*arguments, "--ranks", "8", "16"]) == 0
    lines = page.read_text().splitlines()
    assert any(re.match(r"\| TCP +\| +20 us \| +1.00 GB/s \| +0% \|", line) for line in lines)
    checks = [line.split("|")[-2].strip() for line in lines if "ranks" in line and line.count("|") == 6]
    assert checks == ["1.00"] * 18
    assert "x" not in lines and 0 < plot.stat().st_size < 100_000
    assert "double tree" in capsys.readouterr().out


def test_page_of_scaling_is_whole(bench_script):
    page = (scaling := bench_script("scaling")) and scaling.PAGE.read_text()
    assert re.findall(r"<!-- table: (\S+) -->", page) == ["links", "check", "winners", "times", "disturbed"]
    plot = scaling.PAGE.with_suffix(".svg")
    assert f"({plot.name})" in page and 0 < plot.stat().st_size < 150_000
