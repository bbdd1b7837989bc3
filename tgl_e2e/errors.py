"""What a user can mend."""


class InputError(ValueError):
    """Something that the user can mend: the message names the input and the remedy, in one line."""
