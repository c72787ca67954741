"""Recurrent layers step by step, and their gradients by going back through the steps."""

import numpy as np

from .activations import activate, derivative
from .dense import accumulated


def _bent(z, kind, alpha):
    return activate(z, kind, alpha)


def _slope(value, kind, alpha):
    return derivative(value, kind, alpha) * np.ones_like(value)


def _order(x, go_backwards):
    """The steps' places along x's axis of time, in the order in which they are taken."""
    return list(range(x.shape[1]))[:: -1 if go_backwards else 1]


def _outputs(h, order, return_sequences):
    return h[:, order] if return_sequences else h[:, order[-1]]


def _output_gradients(dy, order, return_sequences, shape):
    """dy of each step by its place in time."""
    dh = np.zeros(shape)
    if return_sequences:
        dh[:, order] = dy
    else:
        dh[:, order[-1]] = dy
    return dh


def _weights(x, h, dz_input, dz_recurrent, order, kernel):
    """(dkernel, drecurrent_kernel, dx); h before the first step is 0."""
    before = np.zeros_like(h)
    before[:, order[1:]] = h[:, order[:-1]]
    dkernel = np.einsum("ntf,ntc->fc", x, dz_input)
    return dkernel, np.einsum("ntu,ntc->uc", before, dz_recurrent), dz_input @ kernel.T


def simple_rnn_forward(
    x, kernel, recurrent_kernel, bias, y, h, activation, alpha=0.0, go_backwards=False, return_sequences=False
):
    order, state = _order(x, go_backwards), np.zeros((x.shape[0], recurrent_kernel.shape[0]))
    h = np.zeros((*x.shape[:2], state.shape[1]))
    for t in order:
        z = x[:, t] @ kernel + state @ recurrent_kernel + (0 if bias is None else bias)
        state = h[:, t] = _bent(z, activation, alpha)
    return {"y": _outputs(h, order, return_sequences), "h": h}


def simple_rnn_backward(
    x, kernel, recurrent_kernel, h, dy, dz, dkernel, drecurrent_kernel, dbias, dx,
    activation, alpha=0.0, go_backwards=False, return_sequences=False, accumulate=False,
):  # fmt: skip
    order = _order(x, go_backwards)
    given, back, d = _output_gradients(dy, order, return_sequences, h.shape), 0.0, np.zeros(h.shape)
    for t in reversed(order):
        d[:, t] = (given[:, t] + back) * _slope(h[:, t], activation, alpha)
        back = d[:, t] @ recurrent_kernel.T
    result = dict(zip(("dkernel", "drecurrent_kernel", "dx"), _weights(x, h, d, d, order, kernel)))
    result["dbias"] = d.sum(axis=(0, 1))
    cleared = d.copy()
    cleared[:, order[0]] = 0
    result["dz"] = cleared
    return accumulated(result, accumulate, dkernel=dkernel, drecurrent_kernel=drecurrent_kernel, dbias=dbias)


def lstm_forward(
    x, kernel, recurrent_kernel, bias, y, h, c, gates, activation, recurrent_activation, alpha=0.0, recurrent_alpha=0.0,
    go_backwards=False, return_sequences=False,
):  # fmt: skip
    order, u = _order(x, go_backwards), recurrent_kernel.shape[0]
    h, c, gates = (np.zeros((*x.shape[:2], blocks * u)) for blocks in (1, 1, 4))
    output, state = np.zeros((x.shape[0], u)), np.zeros((x.shape[0], u))
    for t in order:
        z = x[:, t] @ kernel + output @ recurrent_kernel + (0 if bias is None else bias)
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, o = (_bent(gate, recurrent_activation, recurrent_alpha) for gate in (i, f, o))
        g = _bent(g, activation, alpha)
        state = c[:, t] = f * state + i * g
        output = h[:, t] = o * _bent(state, activation, alpha)
        gates[:, t] = np.concatenate([i, f, g, o], axis=1)
    return {"y": _outputs(h, order, return_sequences), "h": h, "c": c, "gates": gates}


def lstm_backward(
    x, kernel, recurrent_kernel, h, c, gates, dy, dz, dkernel, drecurrent_kernel, dbias, dx,
    activation, recurrent_activation, alpha=0.0, recurrent_alpha=0.0, go_backwards=False, return_sequences=False,
    accumulate=False,
):  # fmt: skip
    order = _order(x, go_backwards)
    given, d = _output_gradients(dy, order, return_sequences, h.shape), np.zeros(gates.shape)
    dh, dc = np.zeros(h[:, 0].shape), np.zeros(h[:, 0].shape)
    for step, t in reversed(list(enumerate(order))):
        before = c[:, order[step - 1]] if step else np.zeros_like(dc)
        i, f, g, o = np.split(gates[:, t], 4, axis=1)
        dh = dh + given[:, t]
        bent = _bent(c[:, t], activation, alpha)
        dc = dc + dh * o * _slope(bent, activation, alpha)
        slopes = [_slope(gate, recurrent_activation, recurrent_alpha) for gate in (i, f, o)]
        parts = [dc * g * slopes[0], dc * before * slopes[1], dc * i * _slope(g, activation, alpha)]
        d[:, t] = np.concatenate([*parts, dh * bent * slopes[2]], axis=1)
        dh, dc = d[:, t] @ recurrent_kernel.T, dc * f
    result = dict(zip(("dkernel", "drecurrent_kernel", "dx"), _weights(x, h, d, d, order, kernel)))
    result["dbias"] = d.sum(axis=(0, 1))
    cleared = d.copy()
    cleared[:, order[0]] = 0
    result["dz"] = cleared
    return accumulated(result, accumulate, dkernel=dkernel, drecurrent_kernel=drecurrent_kernel, dbias=dbias)


def gru_forward(
    x, kernel, recurrent_kernel, bias, y, h, gates, activation, recurrent_activation, alpha=0.0, recurrent_alpha=0.0,
    go_backwards=False, return_sequences=False, reset_after=True,
):  # fmt: skip
    order, u = _order(x, go_backwards), recurrent_kernel.shape[0]
    h, gates = np.zeros((*x.shape[:2], u)), np.zeros((*x.shape[:2], 4 * u))
    state = np.zeros((x.shape[0], u))
    bias = np.zeros((2, 3 * u)) if bias is None else np.array([bias, 0 * bias]) if bias.ndim == 1 else bias
    for t in order:
        z, r, g = np.split(x[:, t] @ kernel + bias[0], 3, axis=1)
        z_h, r_h, g_h = np.split(state @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = (_bent(gate, recurrent_activation, recurrent_alpha) for gate in (z + z_h, r + r_h))
        inner = g_h if reset_after else r * state
        added = r * inner if reset_after else inner @ recurrent_kernel[:, 2 * u :]
        g = _bent(g + added, activation, alpha)
        state = h[:, t] = z * state + (1 - z) * g
        gates[:, t] = np.concatenate([z, r, inner, g], axis=1)
    return {"y": _outputs(h, order, return_sequences), "h": h, "gates": gates}


def gru_backward(
    x, kernel, recurrent_kernel, h, gates, dy, dz, dkernel, drecurrent_kernel, dbias, dx,
    activation, recurrent_activation, alpha=0.0, recurrent_alpha=0.0, go_backwards=False, return_sequences=False,
    reset_after=True, accumulate=False,
):  # fmt: skip
    order, u = _order(x, go_backwards), recurrent_kernel.shape[0]
    given, d = _output_gradients(dy, order, return_sequences, h.shape), np.zeros(gates.shape)
    dh, of_candidate = np.zeros(h[:, 0].shape), recurrent_kernel[:, 2 * u :]
    for step, t in reversed(list(enumerate(order))):
        before = h[:, order[step - 1]] if step else np.zeros_like(dh)
        z, r, inner, g = np.split(gates[:, t], 4, axis=1)
        dh = dh + given[:, t]
        dg = dh * (1 - z) * _slope(g, activation, alpha)
        d_inner = dg * r if reset_after else dg @ of_candidate.T
        dr = (dg * inner if reset_after else d_inner * before) * _slope(r, recurrent_activation, recurrent_alpha)
        d_update = dh * (before - g) * _slope(z, recurrent_activation, recurrent_alpha)
        d[:, t] = np.concatenate([d_update, dr, d_inner, dg], axis=1)
        dh = dh * z + d[:, t, : 2 * u] @ recurrent_kernel[:, : 2 * u].T
        dh = dh + (d_inner @ of_candidate.T if reset_after else d_inner * r)
    of_x = np.delete(d, np.s_[2 * u : 3 * u], axis=2)
    first, second, third = _weights(x, h, of_x, d[:, :, : 3 * u], order, kernel)
    if not reset_after:
        second[:, 2 * u :] = np.einsum("ntu,ntc->uc", gates[:, :, 2 * u : 3 * u], d[:, :, 3 * u :])
    sums = of_x.sum(axis=(0, 1))
    result = {"dkernel": first, "drecurrent_kernel": second, "dx": third}
    result["dbias"] = np.stack([sums, d[:, :, : 3 * u].sum(axis=(0, 1))]) if reset_after else sums
    cleared = d.copy()
    cleared[:, order[0], : (3 if reset_after else 2) * u] = 0
    result["dz"] = cleared
    return accumulated(result, accumulate, dkernel=dkernel, drecurrent_kernel=drecurrent_kernel, dbias=dbias)
