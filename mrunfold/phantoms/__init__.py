"""Simulated scans: the sample from a brain template, folders in fastMRI's format, coil sensitivities."""
