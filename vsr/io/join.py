"""The join: encoded segments and everything else of the source become one file, each packet at its exact time.

How times stay exact is measured in the project's notes on PyAV 18: segments carry frame numbers, not times; here each
packet gets the time of its frame, decode times are rebuilt, and durations are those on the screen.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vsr.disk import remove_remains, sync_file, why_not_written
from vsr.errors import MediaError
from vsr.frames import MediaInfo, SegmentFile, StreamPlan
from vsr.io.assembly import Assembled, Assembly
from vsr.io.container_kind import as_container, muxer
from vsr.io.copies import Track
from vsr.io.copy_pass import copied_packets
from vsr.io.opening import open_input
from vsr.io.picture import Picture
from vsr.io.schedule import make_schedule
from vsr.io.segments import ReorderedMoreError, open_template, reported_delay, video_of, video_packets
from vsr.stage import Cancel

log = logging.getLogger(__name__)


def join(
    info: MediaInfo,
    plan: Sequence[StreamPlan],
    segments: Sequence[SegmentFile],
    output: Path,
    *,
    container: str,
    picture: Picture,
    cancel: Cancel,
    first_pts: int | None = None,
    end_time: Fraction | None = None,
) -> Assembled:
    """Write `output` from encoded segments and the source's other streams; the file is synced when this returns.

    Segments come in order of time. `first_pts` is the first kept frame's when the clip was cut at its start; it then
    sits where the source's first frame sat. `end_time`, in the source's seconds, is where the clip was cut at its end.
    On any error the file is deleted; MediaError has one line for the user.
    """
    target = as_container(container)
    try:
        with open_input(info.path, pipe=info.pipe, numbered=info.numbered) as source:
            schedule, notes = make_schedule(info, segments, target, first_pts=first_pts, end=end_time)
            delay = reported_delay(segments[0])
            while True:
                job = _Join(
                    assembly=Assembly(
                        info=info,
                        plan=plan,
                        container=target,
                        picture=picture,
                        schedule=schedule,
                        source=source,
                        notes=list(notes),
                    ),
                    segments=segments,
                    cancel=cancel,
                )
                try:
                    return job.write(output, delay)
                except ReorderedMoreError as e:
                    log.info("%s: frames are reordered by %d, not %d; joining again", output, e.delay, delay)
                    delay = e.delay
                    source.seek(0)
    except (FFmpegError, OSError, ValueError) as e:
        otherwise = f"cannot be written: {getattr(e, 'strerror', None) or e}; choose another output with -o"
        raise MediaError(f"{output}: {why_not_written(e, otherwise)}") from e


@dataclass(frozen=True, slots=True, kw_only=True)
class _Join:
    """One attempt to write the file; a second one happens only when frames are reordered more than they said."""

    assembly: Assembly
    segments: Sequence[SegmentFile]
    cancel: Cancel

    def write(self, output: Path, delay: int) -> Assembled:
        """Write, close and sync. On any exception the file is gone."""
        assembly = self.assembly
        is_whole = False
        file = av.open(
            str(output.absolute()),
            "w",
            format=muxer(assembly.container),
            container_options=assembly.options(),
            metadata_errors="surrogateescape",
        )
        try:
            tracks, video = assembly.prepare(file, self._add_picture)
            assembly.copy_covers(file)
            self._mux(file, video, tracks, delay)
            file.close()
            assembly.finish(output)
            is_whole = True
        finally:
            if not is_whole:
                with suppress(FFmpegError, OSError, ValueError):
                    file.close()
                remove_remains(output)
        sync_file(output)
        return assembly.result(tracks, assembly.schedule)

    def _add_picture(self, file: OutputContainer) -> VideoStream:
        with open_template(self.segments[0], self.assembly.info.video) as segment:
            encoded = video_of(segment)
            video = file.add_stream_from_template(encoded, opaque=True)
            video.metadata.update(encoded.metadata)
            tag, pix_fmt = encoded.codec_context.codec_tag, encoded.codec_context.pix_fmt
        video.codec_context.framerate = self.assembly.info.video.rate.limit_denominator(100_000)
        if self.assembly.picture.codec == "prores" and self.assembly.container == "mov":
            video.codec_context.codec_tag = tag  # ap4h for 4444: the muxer would write apch, whatever it is
            video.codec_context.bits_per_coded_sample = 32 if "yuva" in (pix_fmt or "") else 24  # QuickTime goes by it
        return video

    def _mux(self, file: OutputContainer, video: VideoStream, tracks: list[Track], delay: int) -> None:
        """Merge picture and copies by decode time, so that the muxer never has to wait for one of them."""
        schedule = self.assembly.schedule
        copies = copied_packets(self.assembly.source, tracks, self.assembly.notes, path=self.assembly.info.path)
        copy = next(copies, None)
        tick = float(schedule.time_base)
        packets = video_packets(
            self.segments,
            self.assembly.picture.codec,
            schedule,
            video,
            container=self.assembly.container,
            delay=delay,
        )
        for packet in packets:
            self.cancel.check()
            while copy is not None and copy[0] <= (packet.dts or 0) * tick:
                file.mux(copy[1])
                copy = next(copies, None)
            file.mux(packet)
        while copy is not None:
            self.cancel.check()
            file.mux(copy[1])
            copy = next(copies, None)
