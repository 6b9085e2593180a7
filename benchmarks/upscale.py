"""How fast `vsr upscale` is, as ratios within one run: against the plain way, its own stages, and the machine's limit.

    python benchmarks/upscale.py --model FILE [--model FILE] [--device cuda] [--frames 48]

Writes benchmarks/results/upscale-DEVICE.json and the tables of docs/performance.md.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.engine.color import from_rgb, to_rgb
from vsr.engine.tune import available_cores
from vsr.frames import FrameBatch, RenderedBatch
from vsr.io.sink import VideoSink
from vsr.io.source import VideoSource
from vsr.journal import Journal
from vsr.models.checkpoint import describe, load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.store import find
from vsr.plan import Job, plan_clip
from vsr.production import complete
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video

RATE = 24


def draw_clip(path: Path, *, height: int, width: int, frames: int) -> None:
    """A moving textured picture, no two frames alike: x264 at CRF 18."""
    generator = np.random.default_rng(0)
    texture = generator.normal(0, 1, (height + 64, width + 64))
    for axis in (0, 1):
        for _ in range(2):
            texture = (texture + np.roll(texture, 1, axis)) / 2
    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(frames):
            shift = k % 64
            luma = 128 + 60 * np.sin((x + 2 * k) / 23) * np.cos((y - k) / 31)
            luma += 90 * texture[shift : shift + height, shift : shift + width]
            luma[(x + y + 3 * k) % 97 < 3] = 235
            frame = av.VideoFrame(width, height, "yuv420p")
            planes = [luma, 128 + 40 * np.sin((x[::2, ::2] + k) / 40), 128 + 40 * np.cos((y[::2, ::2] - k) / 40)]
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
                rows[:, : plane.width] = values.clip(16, 235).astype(np.uint8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _timed(work: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def flop_per_pixel(net: nn.Module) -> float:
    """Floating-point operations a source pixel costs, counted over the convolutions of one pass."""
    total = 0.0
    side = 32

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += 2 * module.weight.numel() * output.shape[-1] * output.shape[-2]

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.enable_grad():  # the way without strips, through the modules
        net(torch.rand(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total / side**2


def network_share(net: nn.Module, device: str, dtype: torch.dtype, flop: float, size: tuple[int, int]) -> float:
    """What the network alone reaches of the rate of a square matrix product; best of six each, in turns.

    On one core of a CPU, where nothing waits for another thread, or on the whole card. `flop` is of one frame.
    """
    torch.set_num_threads(1)
    net = net.to(device, dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    low = torch.rand(1, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    side = 8192 if device != "cpu" else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    product = forward = float("inf")
    with torch.inference_mode():
        for _ in range(6):
            product = min(product, busy_seconds(lambda: a @ a, device))
            forward = min(forward, busy_seconds(lambda: net(low), device))
    return (flop / forward) / (2 * side**3 / product)


def busy_seconds(work: Callable[[], object], device: str) -> float:
    """Seconds of `work`: of all cores on a CPU, by the clock on a card."""
    if device != "cpu":
        return _timed(work, device)
    began = time.process_time()
    work()
    return time.process_time() - began


def stages_alone(job: Job, folder: Path) -> dict[str, float]:
    """Seconds a frame of each stage with nothing else running: of all cores, or of the card where it works there."""
    device = job.renderer.upscaler.device.type
    frames = list(VideoSource(job.info, batch=1, segment=job.settings.segment, threads=job.cores.decoder))
    count = sum(map(len, frames))
    again = VideoSource(job.info, batch=1, segment=job.settings.segment, threads=job.cores.decoder)
    decode = busy_seconds(lambda: list(again), "cpu")
    renderer, some = job.renderer, frames[: min(8, len(frames))]
    torch.set_num_threads(1)
    planes = [tuple(torch.from_numpy(p).to(device) for p in batch.planes) for batch in some]
    renderer(planes[0])
    color_in = busy_seconds(lambda: [to_rgb(p, renderer.source, renderer.source_color) for p in planes], device)
    rgb = [to_rgb(p, renderer.source, renderer.source_color) for p in planes]
    network = busy_seconds(lambda: [renderer.upscaler.run(p) for p in rgb], device)
    high = [renderer.upscaler.run(p)[0] for p in rgb]
    color_out = busy_seconds(lambda: [from_rgb(p, renderer.target, renderer.target_color) for p in high], device)
    done = [tuple(p.cpu().numpy() for p in from_rgb(one, renderer.target, renderer.target_color)) for one in high]

    def encode() -> None:
        sink = VideoSink(
            job.encoder, path_of=lambda k: folder / f"alone{k}.mkv", on_finished=lambda _: None, cancel=Cancel()
        )
        for _ in sink.write(_repeat(frames, done)):
            pass

    encoded = busy_seconds(encode, "cpu")
    n = len(some)
    return {
        "decode": decode / count,
        "colour in": color_in / n,
        "network": network / n,
        "colour out": color_out / n,
        "encode": encoded / count,
    }


def _repeat(frames: list[FrameBatch], done: list[tuple[np.ndarray, ...]]) -> list[RenderedBatch]:
    """The rendered frames forwards and backwards, so that neighbours stay neighbours for the encoder."""
    there_and_back = done + done[-2:0:-1]
    return [
        RenderedBatch(batch=batch, planes=there_and_back[k % len(there_and_back)]) for k, batch in enumerate(frames)
    ]


def pipeline(job: Job) -> float:
    """Wall seconds a frame of the whole flow, join and check left out."""
    with Journal(job.output) as journal:
        journal.begin(job.pinned)
        began = time.perf_counter()
        ending = complete(job, journal, lambda _: None, Cancel())
        seconds = time.perf_counter() - began
        journal.remove()
    return seconds / ending.frames


def published_forward(net: nn.Module, low: torch.Tensor) -> torch.Tensor:
    """The network layer by layer on whole feature maps, as it was published; ours goes through it in strips."""
    if not isinstance(net, SRVGGNetCompact):
        return net(low)
    out = low
    for layer in net.body:
        out = layer(out)
    return F.pixel_shuffle(out, net.scale) + F.interpolate(low, scale_factor=net.scale, mode="nearest")


def plain_way(source: Path, model: Path, folder: Path, options: dict[str, str], most: int) -> float:
    """Wall seconds a frame as the official script works: rgb24 through pipes, float32, contiguous, frame by frame."""
    from vsr.io.ffmpeg import find_ffmpeg

    net, spec = load_model(model)
    net = net.float().eval()
    torch.set_num_threads(available_cores())
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        height, width = video.height, video.width
    ffmpeg = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    reader = subprocess.Popen([*ffmpeg, "-i", source, *raw, "-"], stdout=subprocess.PIPE)
    size = f"{width * spec.scale}x{height * spec.scale}"
    encode = ["-c:v", "libx264", "-crf", options["crf"], "-preset", options["preset"], "-pix_fmt", "yuv420p"]
    writer = subprocess.Popen(
        [*ffmpeg, *raw, "-s", size, "-r", str(RATE), "-i", "-", *encode, folder / "plain.mp4"], stdin=subprocess.PIPE
    )
    assert reader.stdout is not None
    assert writer.stdin is not None
    count = 0
    began = time.perf_counter()
    with torch.no_grad():
        while count < most and len(data := reader.stdout.read(height * width * 3)) == height * width * 3:
            picture = np.frombuffer(data, np.uint8).reshape(height, width, 3).astype(np.float32) / 255
            low = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
            high = published_forward(net, low)[0].clamp(0, 1).numpy().transpose(1, 2, 0)
            writer.stdin.write((high * 255.0).round().astype(np.uint8).tobytes())
            count += 1
    writer.stdin.close()
    writer.wait()
    seconds = time.perf_counter() - began
    reader.kill()
    reader.wait()
    return seconds / count


def first_frame(source: Path, folder: Path) -> float:
    """Seconds from the start of the process to its first frame."""
    command = [sys.executable, "-m", "vsr", "upscale", str(source), "-o", str(folder / "first.mp4"), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--end", "0.5", "--overwrite"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            seconds = time.perf_counter() - began
            process.communicate()
            return seconds
    raise RuntimeError("no frame came")


def peak_memory(folder: Path, seconds: int) -> float:
    """Largest resident memory in MB of a run over a clip of small frames, with a tiny network. Linux only."""
    clip = folder / f"{seconds}s.mp4"
    draw_clip(clip, height=48, width=64, frames=seconds * RATE)
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=8, num_conv=1, scale=2)
    save_model(net, describe(net, name="tiny"), folder / "tiny.safetensors")
    # Not ru_maxrss: a child's begins at what its parent held when it was forked.
    program = (
        "import re, sys; from vsr.cli import main\n"
        "try: main()\n"
        "finally: print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    arguments = ["upscale", str(clip), "--model", str(folder / "tiny.safetensors"), "--scale", "2", "-q", "--overwrite"]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return int(result.stdout.split()[-1]) / 1024


def measure(model: str, device: str, source: Path, folder: Path) -> dict[str, object]:
    """All figures of one model on one clip."""
    settings = UpscaleSettings(model=model, device=device, overwrite=True, codec="h264")
    job = plan_clip(source, folder / "out.mp4", settings)
    upscaler, video = job.renderer.upscaler, job.info.video
    net, spec = load_model(find(model))
    flop = flop_per_pixel(net) * video.height * video.width
    alone = stages_alone(job, folder)
    fast, plain = pipeline(job), plain_way(source, find(model), folder, dict(job.encoder.options), most=12)
    limit = sum(alone.values()) / available_cores() if device == "cpu" else max(alone.values())
    began = time.perf_counter()
    upscale_video(source, folder / "out.mp4", settings=settings)
    whole = (time.perf_counter() - began) / (job.event.frames or 1)
    return {
        "model": spec.name,
        "size": f"{video.width}x{video.height}",
        "precision": job.event.precision.split()[0],
        "flop_per_pixel": round(flop_per_pixel(net)),
        "fps": 1 / fast,
        "plain_fps": 1 / plain,
        "against_plain": plain / fast,
        "share_of_cores": limit / fast,
        "network_share_of_matmul": network_share(net, device, upscaler.dtype, flop, (video.height, video.width)),
        "with_join_and_check": whole / fast,
        "core_ms": {name: 1000 * seconds for name, seconds in alone.items()},
    }


@click.command()
@click.option("--model", "models", multiple=True, default=["vsr-fast-x4"], help="Name or file; may be repeated.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--frames", default=48, show_default=True)
def main(models: tuple[str, ...], device: str, frames: int) -> None:
    """Measure, print, save and write the tables."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        clip = folder / "clip.mp4"
        draw_clip(clip, height=480, width=640, frames=frames)
        rows = [measure(model, device, clip, folder) for model in models]
        memory = {f"{seconds} s": peak_memory(folder, seconds) for seconds in (10, 600)}
        figures = {
            "machine": machine(device),
            "clips": rows,
            "start_to_first_frame_s": first_frame(ROOT / "examples" / "sample.mp4", folder),
            "peak_memory_mb": memory,
        }
    name = f"upscale-{torch.device(device).type}"
    save(name, figures)
    write_table(ROOT / "docs" / "performance.md", name, report(figures))
    print(report(figures))


def report(figures: dict) -> str:
    """The table of docs/performance.md."""
    header = [
        "model",
        "clip",
        "type",
        "frames/s",
        "against the plain way",
        "share of what all cores allow",
        "network's share of the matmul rate",
    ]
    rows = [
        [
            row["model"],
            row["size"],
            row["precision"],
            f"{row['fps']:.2f}",
            f"{row['against_plain']:.1f}x",
            f"{row['share_of_cores']:.0%}",
            f"{row['network_share_of_matmul']:.0%}",
        ]
        for row in figures["clips"]
    ]
    stages = list(figures["clips"][0]["core_ms"])
    costs = [[row["model"], *(f"{row['core_ms'][name]:.1f}" for name in stages)] for row in figures["clips"]]
    memory = figures["peak_memory_mb"]
    return "\n\n".join(
        [
            described(figures),
            table(header, rows),
            "Core-milliseconds a frame, each stage alone:",
            table(["model", *stages], costs),
            f"Start to first frame: {figures['start_to_first_frame_s']:.1f} s. Peak memory of a run over 10 s of small "
            f"frames: {memory['10 s']:.0f} MB; over 10 min: {memory['600 s']:.0f} MB.",
        ]
    )


if __name__ == "__main__":
    main()
