"""How events read as text."""

from vsr.events import DoneEvent, FileEvent, FolderDoneEvent, FolderEvent, NetworkEvent, PlanEvent, VerifiedEvent


def plan_text(plan: PlanEvent) -> str:
    """The plan as a block of aligned lines, without a line end."""
    (source_height, source_width), (height, width) = plan.source_size, plan.output_size
    frames = "" if plan.frames is None else f", about {plan.frames} frames"
    rows = [
        ("from", f"{plan.source}  {source_width}x{source_height}{frames}"),
        ("to", f"{plan.output}  {width}x{height}, {plan.container}"),
        ("model", f"{plan.model} (x{plan.network_scale})"),
        ("device", f"{plan.device}: {plan.why_device}" if plan.why_device else plan.device),
        ("precision", plan.precision),
        ("tiles", plan.tile),
        ("encoder", f"{plan.encoder}, {plan.pix_fmt}"),
        ("colour", plan.color),
    ]
    widths = [max((len(stream[column]) for stream in plan.streams), default=0) for column in range(3)]
    for place, (selector, codec, action, why) in enumerate(plan.streams):
        cells = f"{selector:{widths[0]}}  {codec:{widths[1]}}  {action:{widths[2]}}  {why}"
        rows.append(("" if place else "streams", cells.rstrip()))
    return _aligned(rows)


def folder_text(event: FolderEvent) -> str:
    """What a folder holds, as aligned lines without a line end."""
    clips = f" and {_count(event.clips, 'clip')}" if event.clips else ""
    before = [f"{count} {what} before" for count, what in ((event.skipped, "made"), (event.failed, "failed")) if count]
    rows = [
        ("from", event.source),
        ("to", event.output),
        ("to do", ", ".join([_count(event.stills, "picture") + clips, *before])),
    ]
    if event.passed_by:
        rows.append(("passed by", ", ".join(f"{count} {why}" for why, count in event.passed_by.items())))
    return _aligned(rows)


def network_text(event: NetworkEvent) -> str:
    """A network and where it runs, as aligned lines without a line end."""
    return _aligned(
        [
            ("model", f"{event.model} (x{event.network_scale})"),
            ("device", f"{event.device}: {event.why_device}" if event.why_device else event.device),
            ("precision", event.precision),
            ("tiles", event.tile),
        ]
    )


def file_text(event: FileEvent) -> str:
    """What came of one file, in one line, whatever its name."""
    name = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in event.source)
    seconds = f" in {event.seconds:.1f} s" if event.seconds else ""
    return f"{event.state}: {name}{seconds}{f': {event.reason}' if event.reason else ''}"


def folder_done_text(done: FolderDoneEvent) -> str:
    """What came of a folder, in one line."""
    left = f"; {_count(done.clips_left, 'clip')} left alone: --videos takes them, too" if done.clips_left else ""
    return f"{done.done} done, {done.skipped} skipped, {done.failed} failed{left}"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _aligned(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<9} {value}" for name, value in rows)


def done_text(done: DoneEvent) -> str:
    """What came of the run, in one line."""
    if done.already_done:
        return f"{done.output}: already done"
    rate = f", {(done.frames - done.resumed_frames) / done.seconds:.2f} frames/s" if done.seconds > 0 else ""
    lost = f", {done.lost_frames} lost" if done.lost_frames else ""
    retries = f", {done.retries} computed again" if done.retries else ""
    return f"{done.output}: {done.frames} frames in {done.seconds:.1f} s{rate}{lost}{retries}"


def verified_text(verified: VerifiedEvent) -> str:
    """What came of a verification, in one line."""
    found = {0: "nothing is wrong", 1: "one finding"}.get(verified.findings, f"{verified.findings} findings")
    far = verified.difference
    pictures = "pictures not compared" if far is None else f"pictures differ by {far:.2f} of 255 on average"
    return f"{verified.output}: {verified.frames} frames, {pictures}: {found}"
