"""The one exception type that command lines turn into a single line and exit status 2."""


class InputError(ValueError):
    """Something that the user can mend: the message names the input and the remedy, in one line."""
