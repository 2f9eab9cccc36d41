"""Reconstruction inline: a server that MRD clients stream scans to, and a client."""

from mrunfold.inline.configurations import Configuration, configurations
from mrunfold.inline.limits import Limits
from mrunfold.inline.server import Server, is_loopback

__all__ = ["Configuration", "Limits", "Server", "configurations", "is_loopback"]
