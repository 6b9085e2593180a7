"""Which networks a run asks for, and how much of each."""

from collections.abc import Mapping
from fractions import Fraction

from vsr.errors import ConfigError
from vsr.models.catalog import PUBLISHED
from vsr.settings import UpscaleSettings, choose_model

Shares = Mapping[str, float]  # name or path -> share in the mixture; one alone has 1
_DENOISER = "realesr-general-x4v3"  # what --denoise runs where no model is asked for


def choose_shares(settings: UpscaleSettings, scale: Fraction, *, is_still: bool = False) -> Shares:
    """The models that a run of this scale needs, for a clip or a still, and what share each has.

    Raises ConfigError when --denoise is given with a model that has no twin.
    """
    if settings.mix:
        return settings.mix
    models = (is_still and settings.still_models) or settings.models
    name = settings.model or choose_model(models, scale, passes=settings.passes)
    if settings.denoise is None:
        return {name: 1.0}
    if settings.model is None and _twin(name) is None:
        name = _DENOISER
    twin = _twin(name)
    if twin is None:
        raise ConfigError(f"denoise: {name} has no twin to be mixed with; leave --model out, or give {_DENOISER}")
    shares = {name: settings.denoise, twin: 1 - settings.denoise}
    return {name: share for name, share in shares.items() if share}


def _twin(name: str) -> str | None:
    return PUBLISHED[name].twin if name in PUBLISHED else None
