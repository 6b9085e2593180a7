"""Upscale video and bulk photos with the Real-ESRGAN family of networks, and train them.

import vsr
vsr.upscale_video("clip.mp4", "clip_x4.mp4", preset="anime")
vsr.upscale_image("photo.jpg")
vsr.upscale_folder("photos")
upscaler = vsr.load("vsr-fast-x4")
large = upscaler(small)  # (h, w, 3) array or (n, 3, h, w) tensor
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsr.audit import verify_video
    from vsr.engine.upscaler import Upscaler
    from vsr.errors import VsrError
    from vsr.folder.run import upscale_folder
    from vsr.loading import load
    from vsr.settings import UpscaleSettings
    from vsr.stills import upscale_image
    from vsr.video import upscale_video

__version__ = "0.1.0.dev0"
__all__ = [
    "UpscaleSettings",
    "Upscaler",
    "VsrError",
    "load",
    "upscale_folder",
    "upscale_image",
    "upscale_video",
    "verify_video",
]

_HOME = {
    "UpscaleSettings": "vsr.settings",
    "Upscaler": "vsr.engine.upscaler",
    "VsrError": "vsr.errors",
    "load": "vsr.loading",
    "upscale_folder": "vsr.folder.run",
    "upscale_image": "vsr.stills",
    "upscale_video": "vsr.video",
    "verify_video": "vsr.audit",
}


def __getattr__(name: str) -> object:
    """Import the public names when they are first used: `vsr --help` needs neither torch nor av."""
    if name not in _HOME:
        raise AttributeError(f"module 'vsr' has no attribute '{name}'")
    # torch reads this once: on huge pages a fresh tensor of 60 MB costs 15 ms of page faults instead of 80 (measured).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return getattr(importlib.import_module(_HOME[name]), name)
