"""What can be wrong with a model before it runs: one small tree of exceptions.

    ModelError
      CheckpointError   a file, folder or hub repository cannot be used
      DeviceError       a device or number format is not to be had

Every message is one sentence for the person who chose the model: which file, what is wrong, what to do. Knows no
torch, so any process may catch these.
"""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be made ready."""


class CheckpointError(ModelError):
    """A checkpoint cannot be used; the message names the file, what is wrong with it and what to do."""


class DeviceError(ModelError):
    """The device or number format that was asked for is not present."""
