"""The command line: one file per subcommand, names with a leading underscore are shared by them.

Modules here import typer and the standard library only; whatever a command needs beyond that it
imports when it runs, so that ``--help`` stays fast and free of numba, torch and gymnasium.
"""
