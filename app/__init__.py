"""The program: application, settings, wiring, logs, the server and the command line."""
