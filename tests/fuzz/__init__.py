"""Structured fuzzing: valid messages, bent, at everything that a stranger's bytes reach.

``python -m tests.fuzz --minutes 60`` runs for as long as one likes and prints the seed of what it finds; CI
runs a bounded number of rounds of fixed seeds.
"""
