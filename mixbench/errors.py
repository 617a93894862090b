"""What may go wrong that is the user's to mend, as opposed to a bug in mixbench."""


class RequestError(Exception):
    """The request itself is wrong (exit code 2).  Its text is shown as it is: what, where, and what would be right."""


class TrialError(Exception):
    """A trial cannot go on (its record says so, the suite goes on): no traceback is shown, the text says it all."""
