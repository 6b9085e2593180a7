"""Encoding: frames into segment files, each with an encoder of its own, so that its bytes depend on its frames only."""

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import av
from av import logging as libav_log
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vsr.disk import remove_remains, why_not_written
from vsr.errors import MediaError
from vsr.frames import FrameBatch, Plane, RenderedBatch, Tally
from vsr.io.encoders import EncoderPlan, quiet_encoders
from vsr.io.ffmpeg import SystemEncoder
from vsr.io.pixels import write_planes
from vsr.io.priority import ordinary_priority
from vsr.stage import Cancel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSegment:
    """A segment file that is closed and whole. `pts` in display order, in ticks of the source's time base."""

    index: int
    pts: tuple[int, ...]
    last_crc: int
    tally: Tally


class SegmentEncoder(Protocol):
    """Makes one segment file: one packet a frame, frame k at time k."""

    def write(self, planes: Sequence[Plane]) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...


class VideoSink:
    """Writes batches into segments. The open one is deleted when `write` ends before it is whole."""

    def __init__(
        self,
        plan: EncoderPlan,
        *,
        path_of: Callable[[int], Path],
        on_finished: Callable[[FinishedSegment], None],
        cancel: Cancel,
    ) -> None:
        self._cancel = cancel
        self._plan = plan
        self._path_of = path_of
        self._on_finished = on_finished

    def write(self, rendered: Iterable[RenderedBatch]) -> Iterator[int]:
        """Encode batches in order; yields the number of frames after each. A segment ends where the next begins.

        Raises MediaError when the encoder or the disk gives up.
        """
        encoder: SegmentEncoder | None = None
        last: FrameBatch | None = None
        pts: list[int] = []
        try:
            for item in rendered:
                if encoder is not None and last is not None and item.batch.segment != last.segment:
                    self._finish(encoder, pts, last)
                    encoder, pts = None, []
                if encoder is None:
                    encoder = open_encoder(self._plan, self._path_of(item.batch.segment), self._cancel)
                for i in range(len(item.batch)):
                    encoder.write([plane[i] for plane in item.planes])
                pts.extend(item.batch.pts)
                last = item.batch
                yield len(item.batch)
            if encoder is not None and last is not None:
                self._finish(encoder, pts, last)
                encoder = None
        finally:
            if encoder is not None:
                encoder.discard()

    def _finish(self, encoder: SegmentEncoder, pts: list[int], last: FrameBatch) -> None:
        encoder.close()
        self._on_finished(FinishedSegment(index=last.segment, pts=tuple(pts), last_crc=last.last_crc, tally=last.tally))


def open_encoder(plan: EncoderPlan, path: Path, cancel: Cancel, *, limit: float | None = None) -> SegmentEncoder:
    """A fresh encoder that writes `path` until `cancel` is set. Raises MediaError when it refuses to.

    `limit`: seconds after which another process that encodes is given up.
    """
    if plan.is_system:
        return SystemEncoder(plan, path, cancel, limit=limit)
    return _LibavEncoder(plan, path, cancel)


def segment_muxer(plan: EncoderPlan) -> str:
    """The format of an encoder's segments: Matroska, or mov for what Matroska does not hold. Raises MediaError."""
    return "matroska" if plan.is_system else _segment_muxer(plan.name)


@cache
def _segment_muxer(encoder: str) -> str:
    for name in ("matroska", "mov"):
        try:
            with av.open(io.BytesIO(), "w", format=name) as trial:
                trial.add_stream(encoder)
        except (FFmpegError, ValueError):
            continue
        return name
    raise MediaError(f"{encoder}: what it makes fits into none of mp4, mov, mkv and webm; choose another --encoder")


def configure(context: VideoCodecContext, plan: EncoderPlan) -> None:
    """Set size, format, time and colour on an encoder that is not open yet."""
    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pix_fmt
    context.framerate = plan.rate
    context.time_base = 1 / plan.rate
    context.thread_count = plan.threads
    if plan.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = plan.sample_aspect_ratio
    color = plan.color
    context.colorspace, context.color_primaries, context.color_trc = color.matrix, color.primaries, color.transfer
    context.color_range = 2 if color.full_range else 1
    context.options = dict(plan.options)


def try_to_open(plan: EncoderPlan) -> None:
    """Open an encoder of PyAV's build on nothing. Raises MediaError with its own reason when it refuses."""
    if plan.is_system:
        return
    quiet_encoders()
    with _libav_errors() as lines, _no_stderr():
        try:
            context = av.CodecContext.create(plan.name, "w")
            assert isinstance(context, VideoCodecContext)
            configure(context, plan)
            with ordinary_priority():
                context.open()
        except (FFmpegError, ValueError, OSError) as e:
            raise MediaError(_refusal(plan, e, [text for _, _, text in lines])) from e


@contextmanager
def _libav_errors() -> Iterator[list[tuple[int, str, str]]]:
    """What libav logs as an error meanwhile: (level, from, text). PyAV keeps none unless a level is set."""
    before, is_terse = libav_log.get_level(), libav_log.get_skip_repeated()
    libav_log.set_level(libav_log.ERROR)
    libav_log.set_skip_repeated(False)  # else what was said once today is not said again
    try:
        with libav_log.Capture() as lines:
            yield lines
    finally:
        libav_log.set_level(before)
        libav_log.set_skip_repeated(is_terse)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Let nothing through to stderr: x264 writes there itself before libav has told it not to."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refusal(plan: EncoderPlan, error: Exception, lines: list[str]) -> str:
    told = [line.strip().rstrip(".") for text in lines for line in text.splitlines() if line.strip()]
    reason = "; ".join(told)
    reason = reason or getattr(error, "strerror", None) or str(error)
    what = f"{plan.name} refuses {plan.width}x{plan.height} {plan.pix_fmt}: {reason}"
    return f"{what}; choose another --codec, --size or --encoder-option"


class FrameMaker:
    """Makes what the encoder takes: frames with their colour, numbered 0, 1, 2 ... in ticks of the plan's rate."""

    def __init__(self, plan: EncoderPlan) -> None:
        self.made = 0
        self._plan = plan
        self._reformatter = VideoReformatter()

    def make(self, planes: Sequence[Plane]) -> VideoFrame:
        """The next frame, of planes (h, w) of the plan's layout."""
        plan, color = self._plan, self._plan.color
        frame = VideoFrame(plan.width, plan.height, plan.layout.name)
        write_planes(frame, planes)
        if plan.pix_fmt != plan.layout.name:
            frame = self._reformatter.reformat(frame, format=plan.pix_fmt)
        frame.colorspace, frame.color_primaries, frame.color_trc = color.matrix, color.primaries, color.transfer
        frame.color_range = 2 if color.full_range else 1
        frame.pts, frame.time_base = self.made, 1 / plan.rate
        self.made += 1
        return frame


class _LibavEncoder:
    """One segment through an encoder of PyAV's build."""

    def __init__(self, plan: EncoderPlan, path: Path, cancel: Cancel) -> None:
        self._cancel = cancel
        quiet_encoders()
        self._plan = plan
        self._path = path
        self._packets = 0
        self._frames = FrameMaker(plan)
        try:
            self._container = av.open(str(path.absolute()), "w", format=segment_muxer(plan))
            stream = self._container.add_stream(plan.name, rate=plan.rate)
            assert isinstance(stream, VideoStream)
            self._stream = stream
            configure(stream.codec_context, plan)
            with ordinary_priority():
                self._container.start_encoding()
        except (FFmpegError, ValueError, OSError) as e:
            self.discard()
            raise MediaError(_refusal(plan, e, [])) from e

    def write(self, planes: Sequence[Plane]) -> None:
        """Encode one frame: planes (h, w) of the plan's layout."""
        try:
            frame = self._frames.make(planes)
        except (FFmpegError, OSError, ValueError) as e:  # what swscale cannot lay out
            raise self._failed(e) from e
        self._mux(frame)

    def close(self) -> None:
        """Drain the encoder and write the file's end. Raises MediaError unless every frame gave one packet."""
        self._mux(None)
        try:
            self._container.close()
        except (FFmpegError, OSError) as e:
            raise self._failed(e) from e
        if self._packets != self._frames.made:
            raise MediaError(
                f"{self._path}: {self._plan.name} made {self._packets} packets of {self._frames.made} frames; "
                "choose another encoder"
            )

    def discard(self) -> None:
        """Close and delete the file; for a segment that is not whole."""
        container = getattr(self, "_container", None)
        if container is not None:
            try:
                container.close()
            except (FFmpegError, OSError, ValueError) as e:
                log.debug("%s: %s", self._path, e)
        remove_remains(self._path)

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.codec_context.encode_lazy(frame):
                packet.stream = self._stream
                packet.duration = packet.duration or 1  # mov hides a last packet that lasts no time
                self._packets += 1
                self._container.mux(packet)
                self._cancel.check()  # draining a slow encoder takes seconds
        except (FFmpegError, OSError) as e:
            raise self._failed(e) from e

    def _failed(self, error: Exception) -> MediaError:
        reason = getattr(error, "strerror", None) or str(error)
        otherwise = f"{self._plan.name} failed: {reason}"
        return MediaError(f"{self._path.parent}: {why_not_written(error, f'{otherwise}; choose another --encoder')}")
