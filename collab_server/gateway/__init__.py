"""Sockets and the two wire dialects."""
