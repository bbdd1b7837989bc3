"""How command lines say what the user can mend: in one line, with exit status 2."""

import argparse


class InputError(ValueError):
    """Something that the user can mend: the message names the input and the remedy, in one line."""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")
