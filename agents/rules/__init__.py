"""Rules as files: what a tuned law is and how it came about."""
