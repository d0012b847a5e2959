"""Metrics and logs; every metric is defined here."""
