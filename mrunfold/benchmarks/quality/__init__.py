"""Benchmarks of image quality: of methods, compression, training images and optimisers."""
