"""Gymnasium environments. Importing this package imports nothing; `registration` makes the ids known."""
