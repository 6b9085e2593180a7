"""Clips written without any loss, for test material."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.disk import why_not_written
from vsr.errors import MediaError


def write_lossless(path: Path, clip: npt.NDArray[np.uint8], rate: Fraction) -> None:
    """Write (T, height, width, 3) 8-bit RGB as FFV1 in Matroska, at a constant rate; it bears its name only when whole.

    Raises MediaError when it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    _, height, width, _ = clip.shape
    try:
        with av.open(str(part), "w", format="matroska") as file:
            stream = file.add_stream("ffv1", rate=rate, options={"level": "3", "slicecrc": "1"})
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, stream.pix_fmt = height, width, "bgr0"
            for index, picture in enumerate(clip):
                frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
                frame.pts, frame.time_base = index, 1 / rate
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        part.replace(path)
    except (FFmpegError, OSError) as e:
        part.unlink(missing_ok=True)
        raise MediaError(f"{path}: {why_not_written(e, f'cannot be written: {e}; choose another output')}") from e
