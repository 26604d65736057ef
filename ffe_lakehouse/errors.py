"""The one exception for bad input. A vendor's failures are ``providers.base.ProviderError``."""


class InputError(ValueError):
    """A value that somebody gave is wrong.

    The message names the thing, the value, and the way out; the command line prints it alone and
    exits with 2.
    """
