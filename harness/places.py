"""Where things are kept on this machine, as the environment variables say."""

import os
from pathlib import Path

import platformdirs

PROJECT = Path(__file__).resolve().parent.parent


def samenet_home() -> Path:
    """Return `SAMENET_HOME`, or the user's cache folder: environments, downloads and prepared data."""
    return Path(os.environ.get("SAMENET_HOME") or platformdirs.user_cache_dir("samenet")).absolute()


def samenet_data() -> Path | None:
    """Return `SAMENET_DATA`, the folder looked in before any download, or None if it is not set."""
    given = os.environ.get("SAMENET_DATA")
    return Path(given).absolute() if given else None
