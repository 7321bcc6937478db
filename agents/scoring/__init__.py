"""Measuring and scoring: what contestants save, what they cost, and whether they keep the promise."""
