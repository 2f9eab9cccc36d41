"""Benchmarks of time and memory: of stages, methods, maps, masks, batches, exports and the C++ program."""
