"""A ring of threshold-linear units. A cue makes a bump of activity, which then keeps its position, apart from noise."""

import numpy as np

import granule.model

STEP = 1.0  # ms
BETWEEN_SAMPLES = 20
CUE = 100  # ms


def position(rates, angles):
    """Returns the position of the bump, in degrees."""
    return np.degrees(np.arctan2(rates @ np.sin(angles), rates @ np.cos(angles)))


def trial(parameters, seed, trial):
    units = parameters["network.units"]
    samples = parameters["trial.samples"]
    angles = 2 * np.pi * np.arange(units) / units
    # Every pair of units has one weight, which depends on their distance. Convolution would be faster in large rings.
    near = np.cos(angles[:, None] - angles)
    weights = (parameters["network.feedback"] * near - parameters["network.inhibition"]) / units

    cued = granule.model.generator(seed).uniform(0, 2 * np.pi)  # The seed determines the position.
    cue = parameters["unit.input"] * (2 if parameters["cue.strong"] else 1) * np.maximum(np.cos(angles - cued), 0)
    random = granule.model.generator(seed, trial)
    leak = STEP / parameters["unit.tau"]
    noise = parameters["fluctuation.sd"] * np.sqrt(2 / leak)

    rates = np.zeros(units)
    course = np.empty((samples, units), np.float32)
    start = 0.0
    for step in range(samples * BETWEEN_SAMPLES):
        drive = parameters["unit.input"] + weights @ rates + noise * random.standard_normal(units)
        if step < CUE:
            drive += cue
        if step == CUE:
            start = position(rates, angles)
        rates += leak * (np.maximum(drive, 0) - rates)
        if step % BETWEEN_SAMPLES == BETWEEN_SAMPLES - 1:
            course[step // BETWEEN_SAMPLES] = rates
    drift = abs((position(rates, angles) - start + 180) % 360 - 180)
    return {"drift": drift, "profile": rates, "course": course}


granule.model.serve(trial)
