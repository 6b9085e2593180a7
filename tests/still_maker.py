"""Makes small stills that are known sample by sample, and reads files back by other readers than vsr does."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path

import av
import numpy as np
import tifffile
from PIL import Image, ImageCms

SIZE = (20, 28)  # (height, width)


def slope(channels: int, *, bits: int = 8, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(h, w, c) samples, each different: a picture that shows any turn, shift or swap of channels."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 7 + y * 3) / (width * 7 + height * 3), y / height, 1 - x / width, 0.25 + 0.75 * x / width]
    kept = {1: planes[:1], 2: [planes[0], planes[3]], 3: planes[:3], 4: planes}[channels]
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.rint(np.stack(kept, 2) * np.iinfo(dtype).max).astype(dtype)


@cache
def profile() -> bytes:
    """Of sRGB; lcms puts the time into it, so it is made once."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def press_profile() -> bytes:
    """A profile of a made-up press: a table from CMYK to Lab, whose cyan is dark and whose paper is yellow."""
    paper, inks = np.array([95.0, 0.0, 30.0]), np.array([[-60, -20, -70], [-45, 70, -30], [-5, 0, 60], [-80, 0, -25]])
    corners = np.array([[k >> 3 & 1, k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(16)])
    lab = np.clip(paper + corners @ inks, [0, -128, -128], [100, 127, 127])
    table = np.rint(lab * [2.55, 1, 1] + [0, 128, 128]).astype(np.uint8).tobytes()
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 16)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + table + 3 * ramp
    said = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 6) + b"press\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": lut,
    }
    place = 128 + 4 + 12 * len(said)
    rows, data = b"", b""
    for name, content in said.items():
        rows += name + struct.pack(">II", place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = (
        struct.pack(">I4sI", place + len(data), bytes(4), 0x02100000)
        + b"prtrCMYKLab "
        + struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    )
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(said)) + rows + data


def twice(samples: np.ndarray) -> np.ndarray:
    """What the network `nearest` makes of samples."""
    return samples.repeat(2, 0).repeat(2, 1)


def exif(orientation: int = 1, *, size: tuple[int, int] = SIZE) -> bytes:
    """EXIF with a turn, a maker, a place, the picture's size, notes that hold offsets, and a small picture."""
    said = Image.Exif()
    said[0x0112] = orientation
    said[0x010F] = "Maker"
    said.get_ifd(0x8769).update({0xA002: size[1], 0xA003: size[0], 0x9003: "2001:02:03 04:05:06", 0x927C: b"notes" * 9})
    said.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 1.5)})
    data = bytearray(said.tobytes()[6:])
    small = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(small, "JPEG")
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    struct.pack_into(f"{order}I", data, first + 2 + 12 * count, len(data))
    start = len(data) + 2 + 24 + 4
    length = len(small.getvalue())
    data += struct.pack(f"{order}HHHIIHHII", 2, 0x0201, 4, 1, start, 0x0202, 4, 1, length) + bytes(4) + small.getvalue()
    return bytes(data)


def xmp(orientation: int = 1) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        b'tiff:Orientation="%d" dc:source="here"/></rdf:RDF></x:xmpmeta>' % orientation
    )


IPTC = b"\x1c\x02\x78\x00\x05words\x1c\x02\x05\x00\x05title"


def png(path: Path, samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of any depth, written plainly: no filter, chunks before the pixels."""
    height, width, channels = samples.shape
    depth = samples.dtype.itemsize * 8
    head = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed_chunk(*part) for part in parts))
    return path


def packed_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_back(path: Path) -> np.ndarray:
    """(h, w, c) samples at their own depth: TIFF by tifffile, the rest by libav, and by Pillow what libav cannot."""
    if path.suffix in (".tif", ".tiff"):
        found = tifffile.imread(path)
        return found if found.ndim == 3 else found[:, :, None]
    if path.suffix in (".webp", ".avif", ".heic", ".tga"):
        with Image.open(path) as picture:
            found = np.asarray(picture)
        return found if found.ndim == 3 else found[:, :, None]
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
    base = frame.format.name.removesuffix("be").removesuffix("le")
    channels = {"gray": 1, "ya": 2, "rgb": 3, "rgba": 4}.get(base.rstrip("0123456789"))
    if channels is None:
        return frame.to_ndarray(format="rgba" if "a" in base else "rgb24")
    plane = frame.planes[0]
    is_shallow = base in ("gray", "ya8", "rgb24", "rgba")
    kind = np.dtype("u1" if is_shallow else ">u2" if frame.format.is_big_endian else "<u2")
    strides = (plane.line_size, channels * kind.itemsize, kind.itemsize)
    held = np.ndarray((frame.height, frame.width, channels), kind, memoryview(plane), strides=strides)
    return held.astype(kind.newbyteorder("="))
