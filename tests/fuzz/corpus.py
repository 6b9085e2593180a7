"""Valid files of every kind, from which the hostile ones are made."""

import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

from tests.media_maker import Audio, Chapter, Subtitle, make_clip
from tests.still_maker import exif, png, profile, slope, xmp
from vsr.errors import MediaError
from vsr.folder.run import upscale_folder
from vsr.models.checkpoint import describe, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.rrdb import RRDBNet
from vsr.models.srcnn import SRCNN
from vsr.preset import preset_names, preset_text
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

MODEL = "nearest.safetensors"
SOURCE = "in.mkv"
_FRAMES = 8


def settings(model: Path, **changes: Any) -> UpscaleSettings:
    """How all of it is upscaled. A picture of more pixels than that is refused by its header."""
    where = {"device": "cpu", "precision": "fp32", "max_pixels": 4_000_000}
    return UpscaleSettings(model=str(model), scale=Fraction(2), segment=Fraction(1, 10), **where | changes)


def make_corpus(folder: Path) -> Path:
    """Write all kinds, each into a folder of its own, and the network that upscales them."""
    net = SRVGGNetCompact(num_feat=8, num_conv=1, scale=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    folder.mkdir(parents=True, exist_ok=True)
    save_model(net, describe(net, name="nearest-x2"), folder / MODEL)
    makers: dict[str, Callable[[Path], None]] = {
        "media": _media,
        "images": _images,
        "checkpoints": _checkpoints,
        "presets": _presets,
        "journals": _journal,
        "manifests": _manifest,
    }
    for kind, make in makers.items():
        (folder / kind).mkdir()
        make(folder / kind)
    return folder


def _media(folder: Path) -> None:
    ten: dict[str, Any] = {"frames": _FRAMES, "options": {"g": "4"}, "time_base": Fraction(1, 25)}
    chapters = [Chapter(start=Fraction(0), end=Fraction(1, 5), title="one")]
    make_clip(folder / "a.mkv", audio=[Audio()], subtitles=[Subtitle()], chapters=chapters, cover=True, **ten)
    make_clip(folder / "b.mp4", audio=[Audio()], subtitles=[Subtitle(codec="mov_text")], **ten)
    make_clip(folder / "c.mov", codec="prores_ks", pix_fmt="yuv422p10le", audio=[Audio(codec="pcm_s16le")], frames=3)
    make_clip(folder / "d.ts", codec="mpeg2video", color=None, audio=[Audio(codec="mp2")], **ten)
    make_clip(folder / "e.avi", codec="mpeg4", color=None, audio=[Audio(codec="libmp3lame")], **ten)
    make_clip(folder / "f.webm", codec="libvpx-vp9", audio=[Audio(codec="libopus")], **ten)
    make_clip(folder / "g.mkv", codec="libx265", pix_fmt="yuv420p10le", frames=_FRAMES)
    make_clip(folder / "h.nut", codec="ffv1", audio=[Audio(codec="flac")], frames=4)
    make_clip(folder / "i.flv", audio=[Audio()], **ten)
    make_clip(folder / "j.mpg", codec="mpeg1video", audio=[Audio(codec="mp2")], color=None, **ten)
    make_clip(folder / "k.h264", **ten)
    pages = [Image.fromarray(slope(3) // (1 + number)) for number in range(3)]
    pages[0].save(folder / "l.gif", save_all=True, append_images=pages[1:], duration=40)


def _images(folder: Path) -> None:
    colour, deep, clear = slope(3), slope(3, bits=16), slope(4)
    page = Image.fromarray(colour)
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp()
    png(folder / "a.png", deep, (b"eXIf", exif()), (b"iTXt", text), (b"gAMA", (45455).to_bytes(4, "big")))
    png(folder / "b.png", clear)
    page.save(folder / "c.jpg", exif=b"Exif\0\0" + exif(6), icc_profile=profile(), quality=80)
    page.convert("CMYK").save(folder / "d.jpg", progressive=True)
    page.save(folder / "e.webp", lossless=True, exif=exif(), icc_profile=profile())
    Image.fromarray(clear).save(folder / "f.webp", quality=70)
    tifffile.imwrite(
        folder / "g.tif", np.stack([deep, deep]), photometric="rgb", compression="zlib", iccprofile=profile()
    )
    tifffile.imwrite(folder / "h.tif", colour.astype(np.float32) / 255, photometric="rgb", tile=(16, 16))
    page.save(folder / "i.tif", compression="tiff_lzw")
    page.quantize(16).save(folder / "j.gif", save_all=True, append_images=[page.rotate(180).quantize(16)], duration=50)
    page.quantize(16).save(folder / "k.png", bits=4)
    page.save(folder / "l.png", save_all=True, append_images=[page.rotate(180)], duration=50)
    page.save(folder / "m.bmp")
    page.save(folder / "n.ppm")
    page.save(folder / "o.tga", compression="tga_rle")
    page.save(folder / "p.jp2")
    page.save(folder / "q.avif")


class _Trap:
    """What a pickle that runs a command looks like."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch ran",)


def _checkpoints(folder: Path) -> None:
    compact = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    rrdb = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2, scale=4)
    srcnn = SRCNN(num_feat=4)
    torch.save(compact.state_dict(), folder / "a.pth")
    torch.save({"params_ema": rrdb.state_dict()}, folder / "b.pth")
    torch.save(compact.state_dict(), folder / "c.pth", _use_new_zipfile_serialization=False)
    save_model(compact, describe(compact, name="compact"), folder / "d.safetensors")
    save_model(srcnn, describe(srcnn, name="srcnn"), folder / "e.safetensors", dtype=torch.float16)
    torch.save({**compact.state_dict(), "trap": _Trap()}, folder / "f.pth")
    torch.save(
        {"state_dict": srcnn.state_dict(), "trap": _Trap()}, folder / "g.pth", _use_new_zipfile_serialization=False
    )


def _presets(folder: Path) -> None:
    for name in preset_names():
        (folder / f"{name}.toml").write_text(preset_text(name), encoding="utf-8")


def _journal(folder: Path) -> None:
    """A source, what a run is that was stopped after three segments of four, and the undisturbed result."""
    source = make_clip(folder / SOURCE, frames=10, audio=[Audio()])
    chosen = settings(folder.parent / MODEL)
    output = folder / "out.mkv"
    upscale_video(source, output, settings=chosen)
    output.replace(folder / "whole.mkv")

    def stop(event) -> None:
        if getattr(event, "index", 0) == 2:
            raise MediaError("stopped")

    try:
        upscale_video(source, output, settings=chosen, on_event=stop)
    except MediaError:
        return
    raise AssertionError("the run was not stopped")


def _manifest(folder: Path) -> None:
    """A folder of stills, and the results of one of them, with the manifest of a run."""
    photos = folder / "photos"
    (photos / "below").mkdir(parents=True)
    png(photos / "a.png", slope(3))
    png(photos / "below" / "b.png", slope(1))
    (photos / "c.png").write_bytes(b"no picture")
    upscale_folder(photos, folder / "results", settings=settings(folder.parent / MODEL))
    shutil.rmtree(folder / "results" / "below")
