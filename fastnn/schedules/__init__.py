"""Learning rates as functions of the step.

A schedule maps a step number, counted from 0, to a learning rate. Schedules are joined with `>>`:

    warmup(500) >> cosine(1e-3, steps=10_000)

runs 500 steps of warm-up, then the cosine. **Each segment counts its own steps from 0**: the cosine above sees step 0
at training step 500, so its 10,000 steps end at training step 10,500. A segment that is followed by another needs a
length; `warmup`, `linear`, `cosine` and `polynomial` have one (`steps`), any other gets one from `.until(steps)`:

    constant(0.1).until(1000) >> step([500], [0.01, 0.001])

After its last step a schedule holds its last value. Any callable `f(step) -> float` serves as a schedule too, also as a
segment (`warmup(100) >> (lambda step: 0.1 / (1 + step))`), but a callable can't be saved with a model.
"""

from fastnn.schedules.composition import Chain, Custom, Schedule, Until, Warmup, from_config, get
from fastnn.schedules.curves import Constant, Cosine, Exponential, InverseSqrt, Linear, Polynomial, Step

warmup, constant, exponential, linear, cosine = Warmup, Constant, Exponential, Linear, Cosine
step, polynomial, inverse_sqrt, custom = Step, Polynomial, InverseSqrt, Custom

__all__ = ["Chain", "Constant", "Cosine", "Custom", "Exponential", "InverseSqrt", "Linear", "Polynomial", "Schedule"]
__all__ += ["Step", "Until", "Warmup", "from_config", "get"]
__all__ += ["constant", "cosine", "custom", "exponential", "inverse_sqrt", "linear", "polynomial", "step", "warmup"]
