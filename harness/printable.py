"""Makes text that others wrote harmless on a terminal."""


def printable(text: str) -> str:
    """Return a text on one line in which nothing steers a terminal: what cannot be printed is shown as its escape.

    Such are control characters (ESC begins a terminal's commands), marks that turn the direction of writing, and
    halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else ascii(char)[1:-1] for char in text)
