"""Scores of a folder of reconstructions against a folder of targets, and the report of them."""

from mrunfold.evaluation.bootstrap import Interval, bootstrap_means
from mrunfold.evaluation.compare import Comparison, compare
from mrunfold.evaluation.report import check_outputs, write_outputs
from mrunfold.evaluation.run import Run, evaluate_folder
from mrunfold.evaluation.volumes import VolumeScore

__all__ = [
    "Comparison",
    "Interval",
    "Run",
    "VolumeScore",
    "bootstrap_means",
    "check_outputs",
    "compare",
    "evaluate_folder",
    "write_outputs",
]
