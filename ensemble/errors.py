"""The error that a person can act on."""


class RacksortError(Exception):
    """Something outside the program is wrong: a file, a model, a setting, a server.

    The message is one line that names the thing and the remedy; the command line prints it and exits with status 2.
    """
