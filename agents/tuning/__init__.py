"""Tuning rules to a promise: a search over the parameters that a law's fields say can be searched."""
