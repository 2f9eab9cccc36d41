"""Photographs restored: a task and a picture → the restored picture, its samples and their spread."""

from mrunfold.restoration.noise import estimate_noise
from mrunfold.restoration.outcome import Outcome
from mrunfold.restoration.run import restore_file
from mrunfold.restoration.settings import TASKS, RestoreSettings

__all__ = ["TASKS", "Outcome", "RestoreSettings", "estimate_noise", "restore_file"]
