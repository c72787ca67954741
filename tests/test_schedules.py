"""Learning-rate schedules: the curves against torch's schedulers and formulas, composition, saving, bad arguments."""

import dataclasses
import json
import math

import pytest
import torch

from fastnn import schedules
from fastnn.schedules import (
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    linear,
    polynomial,
    step,
    warmup,
)

lr_scheduler = torch.optim.lr_scheduler


def torch_rates(make, count, rate):
    """The learning rates of a torch scheduler at steps 0 to count - 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler = make(optimizer)
    rates = []
    for _ in range(count):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


TORCH = {
    "exponential": (exponential(0.2, 0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    "staircase": (exponential(0.2, 0.5, decay_steps=7, staircase=True), lambda o: lr_scheduler.StepLR(o, 7, 0.5)),
    "linear": (linear(0.2, 0.05, steps=20), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.25, 20)),
    "cosine": (cosine(0.2, steps=29, end=0.01), lambda o: lr_scheduler.CosineAnnealingLR(o, 29, 0.01)),
    "restarts": (
        cosine(0.2, steps=4, end=0.01, restarts=True, growth=2),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2, 0.01),
    ),
    "equal_restarts": (
        cosine(0.2, steps=5, restarts=True),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    ),
    "step": (step([5, 12], [0.2, 0.02, 0.002]), lambda o: lr_scheduler.MultiStepLR(o, [5, 12], 0.1)),
    "polynomial": (polynomial(0.2, steps=25, end=0, power=2.0), lambda o: lr_scheduler.PolynomialLR(o, 25, 2.0)),
}


@pytest.mark.parametrize("name", TORCH)
def test_curves_are_torchs(name):
    schedule, make = TORCH[name]
    rates = torch_rates(make, 30, 0.2)
    assert [schedule(i) for i in range(30)] == pytest.approx(rates, rel=1e-9)


def test_curves_without_a_peer():
    assert [constant(0.1)(i) for i in (0, 99)] == [0.1, 0.1]
    assert inverse_sqrt(0.1, timescale=100)(300) == pytest.approx(0.05)
    assert exponential(1.0, 0.25, decay_steps=4)(2) == pytest.approx(0.5)
    assert polynomial(1.0, steps=10, end=0.5)(5) == pytest.approx(0.75)
    halved = cosine(1.0, steps=4, restarts=True, decay=0.5)
    assert [halved(i) for i in (0, 4, 8)] == pytest.approx([1.0, 0.5, 0.25])


@pytest.mark.parametrize("schedule", [linear(0.2, 0.1, 5), cosine(0.2, 5, end=0.1), polynomial(0.2, 5, end=0.1)])
def test_the_end_is_held(schedule):
    assert [schedule(i) for i in (5, 6, 1000)] == pytest.approx([0.1] * 3)


def test_warmup_grows_to_what_follows():
    schedule = warmup(4, start=0.2) >> cosine(1.0, steps=10)
    assert [schedule(i) for i in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule.length == 14


def test_each_segment_counts_its_own_steps():
    later = exponential(1.0, 0.5)
    schedule = warmup(3) >> constant(0.7).until(2) >> later
    assert schedule.length is None
    assert [schedule(i) for i in range(5, 9)] == [later(i) for i in range(4)]
    assert [schedule(i) for i in (3, 4)] == [0.7, 0.7]


def test_composition_is_associative_and_takes_numbers_and_callables():
    a, b = warmup(3) >> linear(1.0, 0.5, 4), cosine(0.5, 6)
    assert (a >> b) == (warmup(3) >> (linear(1.0, 0.5, 4) >> b))
    assert [(warmup(2) >> 0.5)(i) for i in range(4)] == [0.0, 0.25, 0.5, 0.5]
    own = warmup(2) >> (lambda count: 1.0 / (1 + count))
    assert [own(i) for i in range(4)] == [0.0, 0.5, 1.0, 0.5]
    assert (linear(0.0, 1.0, 2) >> 0.3)(2) == 0.3


def test_until_holds_the_last_value():
    short = linear(0.0, 1.0, 10).until(4)
    assert short.length == 4
    assert [short(i) for i in (3, 4, 50)] == pytest.approx([0.3] * 3)


def test_the_transformers_schedule():
    """Vaswani et al., equation 3, with its peak at 1."""
    schedule = warmup(100) >> inverse_sqrt(1.0, timescale=100)
    for i in (1, 50, 100, 400, 10_000):
        assert schedule(i) == pytest.approx(math.sqrt(100) * min(i**-0.5, i * 100**-1.5))


SAVED = [
    constant(0.1),
    linear(0.1, 0.2, 5),
    exponential(0.1, 0.5, 3, staircase=True),
    cosine(0.1, 5, end=0.01, restarts=True, growth=2, decay=0.5),
    step([3, 5], [0.3, 0.2, 0.1]),
    polynomial(0.1, 5, end=0.01, power=2),
    inverse_sqrt(0.1, 10),
    warmup(5, start=0.01) >> constant(0.1).until(3) >> cosine(0.1, 20),
]


@pytest.mark.parametrize("schedule", SAVED, ids=lambda schedule: schedule.name)
def test_saved_and_loaded(schedule):
    loaded = schedules.from_config(json.loads(json.dumps(schedule.get_config())))
    assert loaded == schedule
    assert [loaded(i) for i in range(40)] == [schedule(i) for i in range(40)]


CHANGES = {
    "constant": ({"learning_rate": 0.1}, {"learning_rate": 0.2}),
    "linear": ({"start": 0.1, "end": 0.2, "steps": 5}, {"start": 0.3, "end": 0.4, "steps": 7}),
    "exponential": (
        {"learning_rate": 0.1, "decay_rate": 0.5, "decay_steps": 2},
        {"learning_rate": 0.2, "decay_rate": 0.6, "decay_steps": 3, "staircase": True},
    ),
    "cosine": (
        {"learning_rate": 0.1, "steps": 5, "restarts": True},
        {"learning_rate": 0.2, "steps": 7, "end": 0.01, "restarts": False, "growth": 2.0, "decay": 0.5},
    ),
    "step": ({"boundaries": [3], "values": [0.2, 0.1]}, {"boundaries": [4], "values": [0.2, 0.3]}),
    "polynomial": ({"learning_rate": 0.1, "steps": 5}, {"learning_rate": 0.2, "steps": 7, "end": 0.01, "power": 2.0}),
    "inverse_sqrt": ({"learning_rate": 0.1}, {"learning_rate": 0.2, "timescale": 9}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_argument_changes_the_curve(name):
    usual, others = CHANGES[name]
    make = schedules.Schedule.known[name]
    assert set(others) == {field.name for field in dataclasses.fields(make)}
    before = [make(**usual)(i) for i in range(20)]
    for argument, value in others.items():
        assert [make(**{**usual, argument: value})(i) for i in range(20)] != before, argument


def test_every_schedule_is_walked():
    assert set(schedules.Schedule.known) == {*CHANGES, "warmup", "until", "chain", "custom"}


BAD = [
    (lambda: warmup(0), "warmup: steps must be a whole number of at least 1, got 0"),
    (lambda: warmup(3, start=-1), "warmup: start must be a finite number of at least 0, got -1.0"),
    (lambda: warmup(3)(0), r"warmup: a warm-up must be followed by a schedule, got one alone. Write warmup\(3\) >> "),
    (lambda: constant(math.nan), "constant: learning_rate must be a finite number of at least 0, got nan"),
    (
        lambda: constant(0.1) >> constant(0.2),
        "schedules: a schedule before >> must be of known length, got endless con",
    ),
    (lambda: linear(0.1, 0.2, 2.5), "linear: steps must be a whole number of at least 1, got 2.5"),
    (lambda: exponential(0.1, 0.0), "exponential: decay_rate must be a finite number above 0, got 0.0"),
    (lambda: cosine(0.1, 5, growth=2.0), "cosine: growth and decay must be 1 without restarts, got 2.0 and 1.0. Pass"),
    (
        lambda: cosine(0.1, 5, restarts=True, growth=0.5),
        "cosine: growth must be a finite number of at least 1, got 0.5",
    ),
    (lambda: step([5, 3], [1, 2, 3]), r"step: boundaries must be ascending, got \[5, 3\]"),
    (lambda: step([5], [1]), "step: values must be one more than the 1 boundaries, got 1 values"),
    (lambda: schedules.get("fast"), "schedules.get: learning_rate must be a finite number of at least 0, got 'fast'"),
    (lambda: schedules.from_config({"name": "cosin"}), "schedules.from_config: name must be one of .*got 'cosin'"),
    (
        lambda: (warmup(3) >> (lambda count: 0.1)).get_config(),
        "schedules.get_config: schedule must be one of fastnn.schedules to be saved, got <function",
    ),
]


@pytest.mark.parametrize("make, message", BAD)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
