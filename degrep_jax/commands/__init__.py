"""The commands of `degrep`, a module each.

A module has `HELP`, the line that `degrep --help` shows; `add_arguments(parser)`; and `run(args)`,
which returns the exit status or None for 0 and raises `UserError` for the rest. What is slow to
import is imported by `run`, so that `--help` answers at once.
"""
