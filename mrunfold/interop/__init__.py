"""Operators as other libraries have them, and theirs as ours."""
