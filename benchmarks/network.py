"""What each kind of network alone reaches of the matmul rate. The weights are random: speed does not ask for good ones.

    python -m benchmarks.network [--device cuda]

Writes benchmarks/results/network-DEVICE.json and the table of docs/performance.md.
"""

import click
import torch

from benchmarks.report import ROOT, described, machine, save, table, write_table
from benchmarks.upscale import flop_per_pixel, network_share
from vsr.engine.tune import fast_types
from vsr.models.compact import SRVGGNetCompact
from vsr.models.rrdb import RRDBNet

SIZE = {"compact": (480, 640), "rrdb": (128, 128)}  # (height, width): a frame, and a tile


@click.command()
@click.option("--device", default="cpu", show_default=True)
def main(device: str) -> None:
    """Measure, print, save and write the table."""
    kind = torch.device(device)
    dtype = next(iter(fast_types(kind)), torch.float32)
    torch.manual_seed(0)
    networks = {
        "Compact 64x16": SRVGGNetCompact(num_feat=64, num_conv=16),
        "Compact 64x32": SRVGGNetCompact(num_feat=64, num_conv=32),
        "RRDB 6 blocks": RRDBNet(num_feat=64, num_block=6, num_grow_ch=32, scale=4),
        "RRDB 23 blocks": RRDBNet(num_feat=64, num_block=23, num_grow_ch=32, scale=4),
    }
    rows = []
    for name, net in networks.items():
        net.eval().requires_grad_(False)
        height, width = SIZE["rrdb" if isinstance(net, RRDBNet) else "compact"]
        per_pixel = flop_per_pixel(net)
        share = network_share(net, device, dtype, per_pixel * height * width, (height, width))
        rows.append({"network": name, "size": f"{width}x{height}", "mflop": per_pixel / 1e6, "share": share})
    figures = {"machine": machine(device), "type": str(dtype).removeprefix("torch."), "networks": rows}
    name = f"network-{kind.type}"
    save(name, figures)
    write_table(ROOT / "docs" / "performance.md", name, report(figures))
    print(report(figures))


def report(figures: dict) -> str:
    """The table of docs/performance.md."""
    rows = [[r["network"], r["size"], f"{r['mflop']:.2f}", f"{r['share']:.0%}"] for r in figures["networks"]]
    header = ["network", "picture", "MFLOP a source pixel", "share of the matmul rate"]
    return f"{described(figures)} Type: {figures['type']}.\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
