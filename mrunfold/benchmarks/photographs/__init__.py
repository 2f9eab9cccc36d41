"""Benchmarks of photographs restored: quality and speed against rivals."""
