"""Hooks into training, with Keras' names and arguments.

``fit`` calls the hooks that a callback overrides; one without batch hooks costs nothing in a step. ``logs`` holds the
values so
far: "loss", the metrics by name, and at the end of an epoch the same with "val_" in front.
"""

from fastnn.callbacks.backup import BackupAndRestore
from fastnn.callbacks.base import Callback, CallbackList, History, LambdaCallback
from fastnn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastnn.callbacks.logs import CSVLogger, TerminateOnNaN
from fastnn.callbacks.monitor import EarlyStopping, ModelCheckpoint
from fastnn.callbacks.ray import RayCheckpoint

__all__ = ["BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback"]
__all__ += ["LearningRateScheduler", "ModelCheckpoint", "RayCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN"]
