"""The posterior mean without Python: a TorchScript file, and a C++ program that runs it."""

from mrunfold.runtime.build import SOURCE, build
from mrunfold.runtime.export import export_mean
from mrunfold.runtime.program import read_image, write_inputs

__all__ = ["SOURCE", "build", "export_mean", "read_image", "write_inputs"]
