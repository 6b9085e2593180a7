"""Where vsr keeps files of its own on this machine."""

import os
from pathlib import Path

import platformdirs


def models_folder() -> Path:
    """The folder models are kept in: VSR_MODELS where it is set, else in the user's cache. It need not exist."""
    named = os.environ.get("VSR_MODELS")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("vsr") / "models"
