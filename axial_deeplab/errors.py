"""The one exception that means "the input is at fault": it names the file and the cure."""


class InputError(ValueError):
    """Report bad input in one line that names the file and the cure; the command line turns it into exit status 2."""
