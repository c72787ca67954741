"""Models in files: one safetensors file, with the architecture and the compile arguments as JSON in its metadata.
Never pickle.

Tensors: "layer/parameter" for weights, "optimizer/..." for the optimizer's state. Metadata: {"fastnn": the JSON text}.
Any program that reads safetensors can read the weights. A file is written under a temporary name in its folder and
renamed when it's complete.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import __version__, losses, metrics, optimizers
from fastnn._backend import assign, resolve_device, to_host
from fastnn._check import fail

_FORMAT = 1
_KEY = "fastnn"


def save_model(model: Any, filepath: Any) -> None:
    """Write a model; see ``Sequential.save``."""
    write_tensors(filepath, tensors_of(model), header_of(model), "save")


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """Weights and the optimizer's state, by the names that they have in a file."""
    tensors = {p.name: p.value for p in model.parameters}
    if model.optimizer is not None and model._step is not None:
        tensors.update({f"optimizer/{name}": array for name, array in model.optimizer.state_arrays().items()})
    return tensors


def header_of(model: Any) -> dict[str, Any]:
    """Architecture and compile arguments.

    Raises:
        ValueError: a part that isn't of fastnn has no name that could be saved.
    """
    header: dict[str, Any] = {"version": __version__, "class_name": "Sequential"}
    header["config"] = model.get_config()
    if model.optimizer is not None:
        header["compile"] = {
            "optimizer": optimizers.serialize(model.optimizer),
            "loss": losses.serialize(model.loss),
            "metrics": _metric_configs(model._metric_specs[0], model),
            "weighted_metrics": _metric_configs(model._metric_specs[1], model),
            "accumulate_steps": model.accumulate_steps,
        }
    return header


def _metric_configs(specs: list[Any], model: Any) -> list[Any]:
    shape = model.layers[-1].output_shape
    return [
        spec if isinstance(spec, str) else metrics.serialize(metrics.get(spec, model.loss, shape)) for spec in specs
    ]


def save_weights(model: Any, filepath: Any) -> None:
    """Write the weights alone; see ``Sequential.save_weights``."""
    header = {"version": __version__}
    write_tensors(filepath, {p.name: p.value for p in model.parameters}, header, "save_weights")


def write_tensors(filepath: Any, tensors: dict[str, np.ndarray], header: dict[str, Any], function: str) -> None:
    """One safetensors file with this header, complete or not at all."""
    from safetensors.numpy import save_file  # imported where it's needed, to keep the import of fastnn short

    path = Path(filepath)
    if not path.parent.is_dir():
        fail(function, "filepath", "in a folder that exists", repr(str(path)), error=FileNotFoundError)
    if path.is_dir():
        fail(function, "filepath", "a file's name", f"the folder {str(path)!r}", error=IsADirectoryError)
    metadata = {_KEY: json.dumps({"format": _FORMAT, **header})}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.touch()
    mode = (path if path.exists() else temporary).stat().st_mode  # save_file makes files that only their owner reads
    try:
        save_file({name: np.ascontiguousarray(to_host(array)) for name, array in tensors.items()}, temporary, metadata)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_model(
    filepath: Any, custom_objects: dict[str, type] | None = None, compile: bool = True, device: str = "auto"
) -> Any:
    """Read a model written by ``model.save``, ready to predict or to go on training where it was left.

    Args:
        filepath: the file.
        custom_objects: layer classes of your own, by name.
        compile: False leaves out optimizer, loss and metrics.
        device: where it is compiled for, as in ``compile``; a file doesn't say on which device it was written.

    Raises:
        FileNotFoundError: there's no such file.
        ValueError: the file isn't a model, is damaged, or is of a newer format; the device isn't there.
    """
    from fastnn.models.sequential import Sequential

    device = resolve_device(device, "load_model")
    header, tensors = read_tensors(filepath, "load_model")
    if "config" not in header:
        remedy = "Build the model and call model.load_weights(filepath)."
        fail("load_model", "filepath", "a file written by model.save", f"weights alone in {str(filepath)!r}", remedy)
    try:
        model = Sequential.from_config(header["config"], custom_objects)
    except (KeyError, TypeError) as error:
        fail("load_model", "filepath", "a file written by model.save", f"one whose layers can't be made: {error}")
    state = {name: array for name, array in tensors.items() if name.startswith("optimizer/")}
    assign_weights(model, weights_of(tensors), filepath, "load_model")
    if compile and "compile" in header:
        model.compile(**header["compile"], device=device)
        if state:
            model.optimizer.load_state_arrays({name.split("/", 1)[1]: array for name, array in state.items()})
    elif device != "cpu":
        wanted = "'auto' or 'cpu' for a model that isn't compiled"
        fail("load_model", "device", wanted, repr(device), "Compile it with device='cuda'.")
    return model


def load_weights(model: Any, filepath: Any) -> None:
    """Read weights into a model; see ``Sequential.load_weights``."""
    _, tensors = read_tensors(filepath, "load_weights")
    assign_weights(model, weights_of(tensors), filepath, "load_weights")


def weights_of(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the optimizer's state and what a backup says of random numbers."""
    return {name: array for name, array in tensors.items() if not name.startswith(("optimizer/", "random/"))}


def read_tensors(filepath: Any, function: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, tensors) of a file that `write_tensors` wrote."""
    from safetensors import SafetensorError, safe_open

    path = Path(filepath)
    if not path.is_file():
        fail(function, "filepath", "an existing file", repr(str(path)), error=FileNotFoundError)
    wanted = "a file written by model.save"
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        fail(function, "filepath", wanted, f"{str(path)!r}, which isn't a complete safetensors file ({error})")
    try:
        header = json.loads(metadata[_KEY])
        version = int(header["format"])
    except (KeyError, ValueError, TypeError):
        fail(function, "filepath", wanted, f"{str(path)!r}, a safetensors file of another program")
    if version > _FORMAT:
        remedy = f"It was written by fastnn {header.get('version')}: update fastnn."
        fail(function, "filepath", f"of format {_FORMAT} or older", f"format {version}", remedy)
    return header, tensors


def assign_weights(model: Any, tensors: dict[str, np.ndarray], filepath: Any, function: str) -> None:
    """Copy weights by name; all or none."""
    parameters = {p.name: p for p in model.parameters}
    if parameters.keys() != tensors.keys():
        missing, extra = sorted(parameters.keys() - tensors.keys()), sorted(tensors.keys() - parameters.keys())
        given = f"{missing[0]!r} missing" if missing else f"{extra[0]!r} beside them"
        fail(
            function,
            "filepath",
            f"a file with the weights of this model ({len(parameters)})",
            f"{given} in {str(filepath)!r}",
        )
    for name, parameter in parameters.items():
        if tensors[name].shape != parameter.shape:
            fail(function, f"the file's {name}", f"of shape {parameter.shape}", tensors[name].shape)
    for name, parameter in parameters.items():
        assign(parameter.value, tensors[name])
