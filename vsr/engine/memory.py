"""How much of a card's memory a run may take."""

import torch

_CONTEXT = 512 << 20  # bytes of a card that CUDA and its libraries take in each process, about


def limit_memory(device: torch.device, vram_limit: int | None) -> None:
    """Have this process take no more than `vram_limit` bytes of a card, CUDA's own share included.

    What asks for more runs out of memory, which is mended as if the card had no more. None takes a limit away; on a CPU
    there is none. Apple's memory is the machine's: there the limit is torch's alone.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if vram_limit is None else min(1.0, (vram_limit - _CONTEXT) / total)
        torch.cuda.set_per_process_memory_fraction(share, device)
    elif device.type == "mps" and vram_limit is not None:
        torch.mps.set_per_process_memory_fraction(min(1.0, vram_limit / torch.mps.recommended_max_memory()))


def free_memory(device: torch.device, vram_limit: int | None = None) -> int:
    """Bytes of a card, or of what Apple's GPU may take, that are free now and within the limit."""
    if device.type == "mps":
        free = torch.mps.recommended_max_memory()
        return free if vram_limit is None else min(free, vram_limit)
    free = torch.cuda.mem_get_info(device)[0]
    return free if vram_limit is None else min(free, vram_limit - _CONTEXT)
