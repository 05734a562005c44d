"""One file per command of `stowage`.

Each has `add`, which declares the command and its options, and `run`, which returns the exit status. What a command needs of the
services is imported in `run`: no command waits for the imports of another.
"""
