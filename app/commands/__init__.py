"""The work of the commands of `stowage`.

Each is a function of the settings and the options, and returns the exit status. app/cli.py names it.
"""
