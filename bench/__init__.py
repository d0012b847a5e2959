"""The load harness and the measurements behind the figures of the README."""
