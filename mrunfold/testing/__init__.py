"""Contracts for people who write their own operator or sampler: subclass one in a test and inherit its tests.

Needs pytest (`pip install 'mrunfold[dev]'`); nothing else of the package imports this.
"""

from mrunfold.testing.operators import OperatorContract, dense_matrix
from mrunfold.testing.posteriors import GaussianPosterior, MixturePosterior
from mrunfold.testing.samplers import SamplerContract

__all__ = ["GaussianPosterior", "MixturePosterior", "OperatorContract", "SamplerContract", "dense_matrix"]
