"""Upscale video and bulk photos with the Real-ESRGAN family of networks, and train them."""

__version__ = "0.1.0.dev0"
