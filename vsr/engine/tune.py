"""What a device is good at: where to run, in which type, in tiles of what size, on how many threads."""

import copy
import math
import os
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsr.engine.memory import free_memory
from vsr.errors import ConfigError
from vsr.models.spec import ModelSpec
from vsr.settings import Precision

_CPU_BUDGET = 768 << 20  # bytes of activations one CPU worker may hold
_RRDB_OVERLAP = 32  # source pixels
_OTHER_VALUES = 4096  # a source pixel takes inside a network of which only the architecture's name is known
_GPU_SHARE = 0.5  # of the card's free memory
_TYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How near a faster type must stay to float32: peak signal-to-noise ratio and mean error in units of 1/255."""

    psnr: float
    mean: float


FIDELITY_8_BIT = Fidelity(psnr=50, mean=0.3)
FIDELITY_DEEP = Fidelity(psnr=60, mean=0.15)


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """The device for `wanted` (auto, cpu, cuda, cuda:N, mps) and the reason, as the plan prints it.

    Raises ConfigError when it is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0"), f"the first of {torch.cuda.device_count()} CUDA devices"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Apple's GPU"
        return torch.device("cpu"), _why_no_cuda()
    try:
        device = torch.device(wanted)
    except RuntimeError as e:
        raise ConfigError(f"device = {wanted}: unknown; give auto, cpu, cuda, cuda:N or mps") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device = {wanted}: {_why_no_cuda()}; leave --device out to use the CPU")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device = {wanted}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device = {wanted}: this torch sees no Apple GPU; leave --device out to use the CPU")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device = {wanted}: not supported; give auto, cpu, cuda, cuda:N or mps")
    return device, "as asked"


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    return "no CUDA device is found"


def hardware(device: torch.device) -> str:
    """What results may depend on besides the kind of the device: the card's name, a CPU's vector instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.backends.cpu.get_cpu_capability())


def fast_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Types in which the device multiplies faster than in float32, the most exact first."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return (torch.float16, torch.bfloat16) if major >= 8 else (torch.float16,) if major >= 7 else ()
    if device.type == "mps":
        return (torch.float16,)
    return (torch.bfloat16,) if _cpu_multiplies_bf16() else ()


def _cpu_multiplies_bf16() -> bool:
    """Whether AVX512-BF16 or AMX is there: without them bfloat16 is emulated and slower than float32."""
    get = getattr(torch.cpu, "get_capabilities", None)
    if get is not None:
        found = get()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def choose_precision(
    wanted: Precision,
    net: nn.Module,
    device: torch.device,
    *,
    fidelity: Fidelity,
    types: Collection[torch.dtype] | None = None,
) -> tuple[torch.dtype, str]:
    """The type to compute in, and the reason. "auto" takes the device's fast type if it holds `fidelity`.

    `types` are those that the network can compute in, None for all. The bound is measured on a fixed probe picture, so
    that the choice depends on the model and the device only. Raises ConfigError for an unknown name.
    """
    if wanted != "auto":
        if wanted not in _TYPES:  # from Python, where nothing holds a name to the type
            raise ConfigError(f"precision = {wanted}: unknown; give auto, {', '.join(_TYPES)}")
        return _TYPES[wanted], "as asked"
    fast = [dtype for dtype in fast_types(device) if types is None or dtype in types]
    for dtype in fast:
        psnr, mean = measure_fidelity(net, device, dtype, probe_picture())
        if psnr >= fidelity.psnr and mean <= fidelity.mean:
            return dtype, f"{psnr:.0f} dB from fp32"
    return torch.float32, "no faster type is near enough" if fast else "there is no faster type here"


@torch.inference_mode()
def measure_fidelity(net: nn.Module, device: torch.device, dtype: torch.dtype, rgb: Tensor) -> tuple[float, float]:
    """PSNR in dB and mean error in 1/255 between `net` in `dtype` and in float32, on rgb (n, 3, h, w) in [0, 1]."""
    low = rgb.to(device)
    exact = copy.deepcopy(net).float().to(device)(low).clamp(0, 1).cpu()
    fast = copy.deepcopy(net).to(device, dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    error = (fast(low).clamp(0, 1).cpu() - exact).double()
    mse = float(error.square().mean())
    psnr = math.inf if mse == 0 else -10 * math.log10(mse) if math.isfinite(mse) else -math.inf
    return psnr, float(error.abs().mean()) * 255


def probe_picture(side: int = 64) -> Tensor:
    """A fixed (1, 3, side, side) picture with what photographs and drawings have: slopes, edges, strokes, grain."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    slope = torch.stack((x, y, side - 1 - x)) / (side - 1)
    disc = ((x - side / 3).square() + (y - side / 2).square() < (side / 4) ** 2).float()
    strokes = ((x + 2 * y) % 11 < 2).float() * (x > side / 2)
    grain = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)) - 0.5
    picture = 0.25 + 0.5 * slope + 0.25 * disc - 0.6 * strokes + 0.15 * grain
    return picture.clamp(0, 1)[None]


def activation_bytes(spec: ModelSpec, dtype: torch.dtype) -> int:
    """About how many bytes one source pixel takes inside the network at its widest point, result included."""
    if spec.arch == "other":
        return _OTHER_VALUES * dtype.itemsize + 4 * 3 * 4 * spec.scale**2
    maps = 3 if spec.arch == "compact" else 6 + 2 * spec.scale**2  # all others end at the size of the result
    wide = maps * spec.num_feat
    return wide * dtype.itemsize + 4 * 3 * 4 * spec.scale**2


def choose_tile(
    spec: ModelSpec,
    device: torch.device,
    dtype: torch.dtype,
    *,
    batch: int,
    height: int,
    width: int,
    vram_limit: int | None = None,
) -> int | None:
    """The side of the largest tile whose activations fit the device, or None for the whole picture. Source pixels.

    `vram_limit` is as in `limit_memory`, in bytes.
    """
    budget = _CPU_BUDGET
    if device.type in ("cuda", "mps"):
        budget = int(_GPU_SHARE * free_memory(device, vram_limit))
    pixels = budget // (activation_bytes(spec, dtype) * batch)
    if height * width <= pixels:
        return None
    side = math.isqrt(pixels) // 16 * 16
    return max(side, 2 * spec.multiple * -(-spec.reach // spec.multiple) + 64 if spec.reach < 64 else 192)


def default_overlap(spec: ModelSpec) -> int:
    """Source pixels of context around a tile: the reach, at which tiled equals whole, where one can afford it.

    RRDB reaches hundreds of pixels, but its far ones hardly count: there it is the measured distance beyond which
    the difference stays under 1/255 (docs/performance.md).
    """
    return min(spec.reach, _RRDB_OVERLAP) if spec.arch in ("rrdb", "rrdb_shuffle") else spec.reach


def choose_batch(device: torch.device, height: int, width: int) -> int:
    """Frames a step: one on a CPU, whose workers take a frame each; about two megapixels of source on a GPU."""
    if device.type == "cpu":
        return 1
    return max(1, min(16, (2 << 20) // (height * width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """How the CPU's cores are divided, once, among all that run at the same time."""

    workers: int  # frames computed side by side; on a GPU always 1
    threads_per_worker: int
    decoder: int
    encoder: int


def divide_cores(device: torch.device, bytes_per_frame: int, cores: int | None = None) -> Cores:
    """One core a frame, as long as that many frames fit in a quarter of the memory; else several cores a frame.

    Workers with a core each never wait for one another; several threads on one frame meet at a barrier after
    every layer, and lose much there while a decoder or encoder holds a core (measured: 35 % of the speed is left).
    """
    total = cores or available_cores()
    if device.type != "cpu":
        return Cores(workers=1, threads_per_worker=1, decoder=min(total, 8), encoder=min(total, 16))
    most = max(1, machine_memory() // 4 // max(bytes_per_frame, 1))
    workers = min(total, most)
    return Cores(workers=workers, threads_per_worker=total // workers, decoder=min(total, 4), encoder=min(total, 16))


def usable_cores(*, nice: bool) -> int:
    """Cores that a run takes: all that there are, or half of them."""
    return max(1, available_cores() // 2) if nice else available_cores()


def available_cores() -> int:
    """Cores this process may use: fewer than the machine's inside a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int:
    """Bytes of memory in this machine."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 << 30
