"""The whole flow of one still: plan, read, network in blocks, write, check, give it its name."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from vsr.done import is_done, remember
from vsr.engine.blocks import PictureRenderer
from vsr.engine.color import to_rgb
from vsr.engine.tune import (
    FIDELITY_8_BIT,
    FIDELITY_DEEP,
    Cores,
    activation_bytes,
    choose_tile,
    usable_cores,
)
from vsr.engine.upscaler import Upscaler
from vsr.errors import BrokenOff, ConfigError, MediaError
from vsr.events import DoneEvent, NetworkEvent, NoteEvent, PixelsEvent, PlanEvent, Tell
from vsr.frames import ColorSpec, PixelLayout, Plane
from vsr.io.images import write_rgb
from vsr.io.profiles import page_to_srgb
from vsr.io.sheet import contact_sheet
from vsr.io.still import FORMATS
from vsr.io.still_read import open_still, read_pages
from vsr.io.still_write import flat
from vsr.loading import PRECISION_NAMES, prepare
from vsr.models.shares import choose_shares
from vsr.picture import Page, RenderedPage, Samples
from vsr.preset import load_preset
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.still_details import details
from vsr.still_output import deliver
from vsr.still_plan import StillPlan, plan_still

log = logging.getLogger(__name__)

_CPU_BLOCK_BYTES = 64 << 20  # of activations in one block
_CPU_BLOCKS = 4  # at once, so that memory does not grow with the number of cores
_GPU_BLOCK = 1024  # source pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model that is ready for stills: load it once, use it for as many as there are."""

    upscaler: Upscaler
    why_device: str
    why_precision: str


def upscale_image(
    source: str | Path,
    output: str | Path | None = None,
    *,
    preset: str = "real_world",
    settings: UpscaleSettings | None = None,
    on_event: Tell | None = None,
    cancel: Cancel | None = None,
) -> DoneEvent:
    """Upscale a still, an animation or a TIFF of many pages; returns when the output bears its name.

    `output` None writes beside the source, a folder keeps the default name in it. `settings` go before `preset`.
    `on_event` is called in this thread. Setting `cancel` from another stops the run at the next block.
    Raises VsrError with one line for the user; Cancelled when stopped. A picture that is cut off is delivered as far as
    it can be decoded: look at `damage` of the result.
    """
    tell = on_event or (lambda event: log.debug("%s", event))
    chosen = load_preset(preset).upscale if settings is None else settings
    cancel = cancel or Cancel()
    plan = plan_still(Path(source), None if output is None else Path(output), chosen)
    return make_still(plan, open_network(plan, tell=tell, cancel=cancel), tell=tell, cancel=cancel)


def open_network(plan: StillPlan, *, tell: Tell | None = None, cancel: Cancel | None = None) -> Network:
    """The model that a plan asks for, on its device; fetched where it is not here yet.

    Raises ModelError and ConfigError.
    """
    settings = plan.settings
    upscaler, (why_device, why_precision) = prepare(
        choose_shares(settings, plan.scale, is_still=True),
        device=settings.device,
        precision=settings.precision,
        fidelity=FIDELITY_8_BIT if plan.info.bits == 8 else FIDELITY_DEEP,
        vram_limit=settings.vram_limit,
        offline=settings.offline,
        tell=tell,
        cancel=cancel,
    )
    if settings.overlap is not None:
        upscaler.overlap = settings.overlap
    if settings.tile is not None and settings.tile <= 2 * upscaler.overlap + upscaler.spec.multiple:
        raise ConfigError(
            f"tile = {settings.tile}: must be more than twice overlap = {upscaler.overlap}; give a larger --tile"
        )
    return Network(upscaler=upscaler, why_device=why_device, why_precision=why_precision)


def make_still(plan: StillPlan, network: Network, *, tell: Tell, cancel: Cancel) -> DoneEvent:
    """Carry out a plan. Raises as `upscale_image` does; an output is replaced only with `overwrite` in the settings."""
    began = time.monotonic()
    upscaler, settings = network.upscaler, plan.settings
    pinned = pinned_of(plan, upscaler)
    tell(_plan_event(plan, network))
    if plan.output.exists() and not settings.overwrite:
        if not is_done(plan.output, pinned):
            raise MediaError(f"{plan.output}: is there already; add --overwrite, or choose another output with -o")
        done = DoneEvent(output=str(plan.output), frames=0, seconds=0, already_done=True)
        tell(done)
        return done
    if settings.sheet and not settings.overwrite and sheet_path(plan).exists():
        raise MediaError(f"{sheet_path(plan)}: is there already; add --overwrite, or leave --sheet out")
    for note in [*plan.notes, *upscaler.spec.notes, *_enlarged(plan, upscaler)]:
        tell(NoteEvent(message=note))
    retries = upscaler.retries
    damage: list[str] = []
    pages = rendered_pages(plan, network, tell, cancel, damage)
    deliver(plan, pages, damage=damage, overwrite=settings.overwrite)
    if settings.sheet:
        tell(NoteEvent(message=f"before and after: {write_sheet(plan)}"))
    if not damage:
        remember(plan.output, pinned)
    done = DoneEvent(
        output=str(plan.output),
        frames=plan.info.pages,
        seconds=time.monotonic() - began,
        retries=upscaler.retries - retries,
        damage="; ".join(damage),
    )
    tell(done)
    return done


def pinned_of(plan: StillPlan, upscaler: Upscaler) -> dict[str, object]:
    """All that changes the output's bytes."""
    stat, encoding = plan.info.path.stat(), plan.encoding
    return {
        "versions": {name: version(name) for name in ("vsr", "torch", "av", "pillow", "tifffile")},
        "source": str(plan.info.path.absolute()),
        "source_size": stat.st_size,
        "source_mtime_ns": stat.st_mtime_ns,
        "model": upscaler.spec.name,
        "model_sha256": upscaler.spec.sha256,
        "device": str(upscaler.device),
        "precision": PRECISION_NAMES[upscaler.dtype],
        "tile": plan.settings.tile,
        "overlap": upscaler.overlap,
        "passes": plan.settings.passes,
        "size": list(plan.size),
        "kind": encoding.kind,
        "quality": encoding.quality,
        "is_lossless": encoding.is_lossless,
        "to_srgb": plan.settings.to_srgb,
        "strip": plan.settings.strip,
    }


def renderer_for(plan: StillPlan, upscaler: Upscaler, page: Page) -> PictureRenderer:
    """What takes pages of this one's size and levels through the network."""
    height, width, _ = page.samples.shape
    block = _block(plan.settings, upscaler)
    return PictureRenderer(
        upscaler=upscaler,
        size=plan.size_of(height, width),
        levels=plan.levels_of(page.levels),
        passes=plan.settings.passes,
        block=block,
        cores=_cores(plan.settings, upscaler),
    )


def yuv_to_rgb(planes: tuple[Plane, ...], layout: PixelLayout, color: ColorSpec) -> Samples:
    """What `read_pages` asks for: planes (h, w) to 16-bit RGB (h, w, 3), by the conversion that clips go through."""
    tensors = [torch.from_numpy(np.array(plane))[None] for plane in planes]
    rgb = to_rgb(tensors, layout, color)[0].permute(1, 2, 0)
    return np.rint(rgb.numpy() * 65535).astype(np.uint16)


def pages_of(plan: StillPlan) -> Iterator[Page]:
    """The source's pages as the network is to see them. Raises as `read_pages` does."""
    for page in read_pages(plan.info, yuv_to_rgb):
        yield page_to_srgb(page, plan.info.metadata.icc or b"") if plan.is_converted else page


def rendered_pages(
    plan: StillPlan, network: Network, tell: Tell, cancel: Cancel, damage: list[str]
) -> Iterator[RenderedPage]:
    """The pages of the result, one after the other, computed as they are asked for.

    What is wrong with the source goes to `damage` and is told, as are the pixels done. Raises as `upscale_image` does.
    """
    done = 0
    total = plan.info.height * plan.info.width * plan.info.pages  # of pages that are all alike
    try:
        for page in pages_of(plan):
            if page.damage:
                damage.append(page.damage)
                tell(NoteEvent(message=f"{plan.info.path}: {page.damage}"))
            height, width, channels = page.samples.shape
            renderer = renderer_for(plan, network.upscaler, page)

            def bands(page: Page = page, renderer: PictureRenderer = renderer, done: int = done) -> Iterator[Samples]:
                high = 0
                for band in renderer.bands(page.samples[None], page.levels, cancel=cancel):
                    high += band.shape[1]
                    pixels = done + round(page.samples[..., 0].size * high / renderer.size[0])
                    tell(PixelsEvent(pixels=min(pixels, total), total=total))
                    yield band[0]

            rendered = RenderedPage(
                height=renderer.size[0],
                width=renderer.size[1],
                channels=channels,
                levels=renderer.levels,
                bands=bands(),
                seconds=page.seconds,
            )
            yield flat(rendered) if plan.is_flattened else rendered
            done += height * width
    except BrokenOff as e:
        damage.append(str(e).removeprefix(f"{plan.info.path}: "))
        tell(NoteEvent(message=str(e)))


def sheet_path(plan: StillPlan) -> Path:
    """Where `write_sheet` writes."""
    return plan.output.with_name(f"{plan.output.stem}_sheet.png")


def write_sheet(plan: StillPlan) -> Path:
    """Write details of a finished still, before and after, beside it; returns where. Raises MediaError."""
    result = open_still(plan.output, max_pixels=1 << 62)
    before, after = (next(iter(read_pages(info, yuv_to_rgb))) for info in (plan.info, result))
    path = sheet_path(plan)
    write_rgb(path, contact_sheet(details(before, after), columns=2))
    return path


def _block(settings: UpscaleSettings, upscaler: Upscaler) -> int:
    """The side of a block in source pixels, context left out."""
    if settings.tile is not None:
        return max(1, settings.tile - 2 * upscaler.overlap)
    if upscaler.device.type == "cpu":
        pixels = _CPU_BLOCK_BYTES // activation_bytes(upscaler.spec, upscaler.dtype)
        return max(math.isqrt(pixels) // 16 * 16 - 2 * upscaler.overlap, 6 * upscaler.overlap, 64)
    side = choose_tile(
        upscaler.spec,
        upscaler.device,
        upscaler.dtype,
        batch=1,
        height=_GPU_BLOCK,
        width=_GPU_BLOCK,
        vram_limit=settings.vram_limit,
    )
    return _GPU_BLOCK if side is None else max(16, side - 2 * upscaler.overlap)


def _cores(settings: UpscaleSettings, upscaler: Upscaler) -> Cores:
    total = usable_cores(nice=settings.nice)
    workers = min(total, _CPU_BLOCKS) if upscaler.device.type == "cpu" else 1
    return Cores(workers=workers, threads_per_worker=total // workers, decoder=1, encoder=1)


def _enlarged(plan: StillPlan, upscaler: Upscaler) -> list[str]:
    own = upscaler.scale**plan.settings.passes
    if plan.size[0] <= plan.info.height * own and plan.size[1] <= plan.info.width * own:
        return []
    passes = "" if plan.settings.passes == 2 else "; --passes 2 runs the network twice"
    return [f"the network gives {own}x, a resize enlarges the rest{passes}"]


def network_event(plan: StillPlan, network: Network) -> NetworkEvent:
    """What is told of a network that was opened for this plan."""
    upscaler = network.upscaler
    return NetworkEvent(
        model=upscaler.spec.name,
        network_scale=upscaler.scale,
        device=str(upscaler.device),
        why_device=network.why_device,
        precision=f"{PRECISION_NAMES[upscaler.dtype]} ({network.why_precision})",
        tile=f"{_block(plan.settings, upscaler) + 2 * upscaler.overlap} px, overlap {upscaler.overlap}",
    )


def _plan_event(plan: StillPlan, network: Network) -> PlanEvent:
    info, encoding, told = plan.info, plan.encoding, network_event(plan, network)
    form = FORMATS[encoding.kind]
    bits = min(info.bits, form.bits)
    channels = info.channels - plan.is_flattened
    pixels = {1: "gray", 2: "gray and alpha", 3: "RGB", 4: "RGB and alpha"}[channels]
    profile = "its colour profile" if encoding.metadata.icc else "no colour profile, taken as sRGB"
    return PlanEvent(
        source=str(info.path),
        output=str(plan.output),
        device=told.device,
        why_device=told.why_device,
        model=told.model,
        network_scale=told.network_scale,
        precision=told.precision,
        tile=told.tile,
        source_size=(info.height, info.width),
        output_size=plan.size,
        container=form.name,
        encoder=_encoder(plan),
        pix_fmt=f"{pixels}, {bits} bits{' float' if info.is_float and form.has_float else ''}",
        color=profile,
        frames=info.pages if info.pages > 1 else None,
        streams=(),
    )


def _encoder(plan: StillPlan) -> str:
    encoding = plan.encoding
    if encoding.kind == "webp" and encoding.is_lossless:
        return "WebP, lossless"
    quality = f" quality {encoding.quality}" if encoding.quality else ""
    sampling = f" {encoding.subsampling}" if encoding.kind in ("jpeg", "avif", "heic") else ""
    return f"{FORMATS[encoding.kind].name}{quality}{sampling}"
