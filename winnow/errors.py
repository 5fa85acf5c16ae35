"""The one exception that reaches the user as a sentence."""


class UserError(Exception):
    """Bad input from the user: one sentence that says what, where and what to do.

    Console scripts print it without a traceback and exit with code 2.
    """
