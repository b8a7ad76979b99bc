"""The one exception whose text is meant for the user: shown without a traceback, exit code 2."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend. Its message says what was got, what is accepted and what to do next."""


def unknown(what: str, got: object, accepted: Iterable[object], *, where: str = "") -> UserError:
    """Build the error for a name that is not in a list, e.g. `unknown("tool", "pytorch", TOOLS)`."""
    known = ", ".join(str(name) for name in sorted(accepted, key=str))
    place = f" at {where}" if where else ""
    return UserError(f"unknown {what} {got!r}{place}; accepted: {known}. Correct the name and start again.")
