"""Draw examples/sample.mp4: four seconds of a windmill, a balloon and a wood, with a tune and a click each second.

    python examples/make_sample.py

Everything is drawn four times as large and then made smaller, so thin lines, small letters and leaves are as soft as a
camera would leave them: there is something to upscale. The pixels are the same at every run. At each full second a
lamp flashes on the sign's post and the sound clicks, so eyes and ears can tell whether they are still together.
"""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

OUTPUT = Path(__file__).with_name("sample.mp4")
WIDTH, HEIGHT = 320, 180
RATE = 25  # frames a second
SECONDS = 4
FINE = 4  # how many times larger it is drawn
SAMPLE_RATE = 48_000
FLASH = 4  # frames that the lamp is lit

Pixels = npt.NDArray[np.floating]
Fonts = dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]
Point = tuple[float, float]

INK = (38, 30, 40)
PAPER = (250, 240, 220)


def noise(height: int, width: int, cell: int, rng: np.random.Generator) -> Pixels:
    """Fractal noise in [0, 1]: five octaves of smoothly interpolated random values, the coarsest `cell` pixels wide."""
    total = np.zeros((height, width), np.float32)
    for octave in range(5):
        size = max(1, cell >> octave)
        grid = rng.random((height // size + 3, width // size + 3), dtype=np.float32)
        image = Image.fromarray(grid).resize((grid.shape[1] * size, grid.shape[0] * size), Image.Resampling.BICUBIC)
        total += np.asarray(image)[size : size + height, size : size + width] / 2**octave
    low, high = np.percentile(total, (1, 99))
    return np.clip((total - low) / (high - low), 0, 1)


def blend(low: tuple[int, int, int], high: tuple[int, int, int], amount: Pixels) -> Pixels:
    """Colours between two; `amount` is (h, w) in [0, 1], the result (h, w, 3) in [0, 255]."""
    a, b = (np.array(color, np.float32) for color in (low, high))
    return a + (b - a) * amount[..., None]


class Scene:
    """What stays the same in all frames, drawn once: (h, w) are those of the fine picture."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.height, self.width = HEIGHT * FINE, WIDTH * FINE
        self.sky = self._sky(rng)
        self.far = self._ridge(rng, base=400, rise=130, low=(92, 104, 142), high=(168, 164, 184), cell=96)
        self.wood = self._wood(rng)
        self.meadow = self._meadow(rng)
        self.blades = rng.random((420, 4))  # grass: place, height, lean, shade
        self.fonts: Fonts = {size: ImageFont.load_default(size * FINE) for size in (7, 9, 15)}

    def _sky(self, rng: np.random.Generator) -> Pixels:
        down = np.linspace(0, 1, self.height, dtype=np.float32)[:, None].repeat(self.width, axis=1)
        sky = blend((58, 112, 178), (252, 214, 164), np.clip(down * 1.7, 0, 1))
        clouds = np.clip(noise(self.height, self.width, 300, rng) * 2.2 - 1.25, 0, 1) * np.clip(1 - down * 2.4, 0, 1)
        return sky + (np.array([255, 246, 236], np.float32) - sky) * clouds[..., None] * 0.85

    def _ridge(
        self,
        rng: np.random.Generator,
        *,
        base: int,
        rise: int,
        low: tuple[int, int, int],
        high: tuple[int, int, int],
        cell: int,
    ) -> Image.Image:
        """A mountain with rocks lit from the left, twice as wide as the picture, clear above its edge."""
        width = self.width * 2
        rocks = noise(self.height, width, cell, rng)
        light = np.clip(0.5 + np.gradient(rocks, axis=1) * 14, 0, 1)
        edge = base - rise * noise(8, width, 420, rng)[4] - 14 * noise(8, width, 40, rng)[4]
        inside = np.arange(self.height, dtype=np.float32)[:, None] > edge
        return _layer(blend(low, high, light), inside)

    def _wood(self, rng: np.random.Generator) -> Image.Image:
        """Round trees side by side, each of many leaves, darker below."""
        width = self.width * 2
        image = Image.new("RGBA", (width, self.height))
        draw = ImageDraw.Draw(image)
        for place in range(-40, width, 58):
            x = place + int(rng.integers(-18, 18))
            y, radius = 448 + int(rng.integers(-14, 14)), int(rng.integers(38, 62))
            draw.rectangle((x - 5, y, x + 5, y + 90), fill=(70, 52, 44))
            for _ in range(520):
                angle, far = rng.random() * math.tau, math.sqrt(rng.random()) * radius
                leaf_x, leaf_y = x + far * math.cos(angle), y + far * math.sin(angle) * 0.9
                light = np.clip(0.5 - (leaf_y - y + (leaf_x - x) * 0.5) / radius / 2 + rng.normal() * 0.16, 0, 1)
                color = blend((24, 58, 44), (158, 178, 84), np.full((1, 1), light, np.float32))[0, 0]
                size = 3 + 4 * rng.random()
                draw.ellipse((leaf_x - size, leaf_y - size, leaf_x + size, leaf_y + size * 0.7), fill=_rgb(color))
        draw.rectangle((0, 498, width, self.height), fill=(120, 138, 70))
        for furrow in range(9):  # ever wider apart, as they come nearer
            y = 502 + furrow * (3 + furrow)
            draw.line((0, y, width, y), fill=(84, 96, 52), width=2 + furrow // 3)
        return image

    def _meadow(self, rng: np.random.Generator) -> Image.Image:
        x = np.arange(self.width, dtype=np.float32)
        edge = 560 - 46 * np.exp(-(((x - 260) / 240) ** 2)) - 10 * np.sin(x / 170)
        down = np.arange(self.height, dtype=np.float32)[:, None]
        shade = np.clip((down - edge) / 170, 0, 1) * 0.7 + 0.3 * noise(self.height, self.width, 24, rng)
        return _layer(blend((150, 172, 84), (70, 104, 58), shade), down > edge)


def _layer(colors: Pixels, inside: npt.NDArray[np.bool_]) -> Image.Image:
    alpha = np.where(inside, 255, 0)[..., None]
    return Image.fromarray(np.concatenate([colors.clip(0, 255), alpha], axis=2).astype(np.uint8), "RGBA")


def _rgb(color: Pixels) -> tuple[int, int, int]:
    return int(color[0]), int(color[1]), int(color[2])


def curve(points: list[Point], steps: int = 24) -> list[Point]:
    """A cubic Bézier curve of four points, as a polyline."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
    line = []
    for step in range(steps + 1):
        t = step / steps
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        line.append((a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy))
    return line


def draw_sun(draw: ImageDraw.ImageDraw, seconds: float) -> None:
    """A disc with thin rings that grow slowly: lines from very close to well apart."""
    x, y = 900, 150
    for ring in range(9):
        radius = 52 + ring * (7 + ring * 0.9) + 5 * math.sin(seconds * 1.6)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(255, 236, 190), width=3)
    draw.ellipse((x - 46, y - 46, x + 46, y + 46), fill=(255, 240, 198), outline=(240, 178, 110), width=4)


def draw_birds(draw: ImageDraw.ImageDraw, seconds: float) -> None:
    for place, (x, y, size) in enumerate([(120, 120, 26), (200, 92, 20), (262, 140, 17), (330, 70, 14)]):
        x += seconds * 62
        lift = math.sin(seconds * 9 + place * 1.7) * size * 0.8
        for side in (-1, 1):
            wing = [(x, y), (x + side * size * 0.4, y - size - lift * 0.4), (x + side * size, y - lift)]
            draw.line(curve([*wing, (x + side * size * 1.6, y + size * 0.3 - lift)]), fill=INK, width=4, joint="curve")


def draw_balloon(draw: ImageDraw.ImageDraw, seconds: float, fonts: Fonts) -> None:
    """Stripes between ellipses of one height, a net, a basket, and a banner with letters."""
    x, y = 560 + 26 * seconds, 190 - 16 * seconds + 5 * math.sin(seconds * 2)
    wide, high = 92, 104
    stripes = [(198, 58, 52), PAPER, (42, 92, 128), PAPER, (222, 152, 56)]
    for share, color in zip((1, 0.8, 0.56, 0.32, 0.12), stripes, strict=True):
        box = (x - wide * share, y - high, x + wide * share, y + high)
        draw.ellipse(box, fill=color, outline=INK, width=4)
    for side in (-1, -0.5, 0.5, 1):
        draw.line(
            curve(
                [(x + side * 84, y + 44), (x + side * 66, y + 92), (x + side * 30, y + 120), (x + side * 20, y + 158)]
            ),
            fill=INK,
            width=3,
        )
    draw.rectangle((x - 24, y + 156, x + 24, y + 190), fill=(150, 104, 62), outline=INK, width=4)
    for weave in range(-16, 24, 10):
        draw.line((x + weave, y + 160, x + weave, y + 188), fill=INK, width=2)
    draw.rectangle((x - 68, y - 24, x + 68, y + 24), fill=PAPER, outline=INK, width=4)
    draw.text((x, y), "AERO 7", font=fonts[9], fill=INK, anchor="mm")


def draw_mill(draw: ImageDraw.ImageDraw, seconds: float) -> None:
    """A tower of planks with four turning sails of lattice."""
    x, top, bottom = 250, 330, 530
    draw.polygon(
        [(x - 44, top), (x + 44, top), (x + 70, bottom), (x - 70, bottom)], fill=(226, 206, 176), outline=INK, width=5
    )
    for plank in range(12):
        y = top + 18 + plank * 16
        half = 44 + 26 * (y - top) / (bottom - top)
        draw.line((x - half, y, x + half, y), fill=(128, 104, 88), width=2)
    draw.polygon([(x - 54, top), (x, top - 58), (x + 54, top)], fill=(128, 62, 52), outline=INK, width=5)
    draw.rectangle((x - 16, bottom - 58, x + 16, bottom), fill=(92, 66, 54), outline=INK, width=4)
    draw.ellipse((x - 14, 400, x + 14, 428), fill=(92, 130, 160), outline=INK, width=4)
    for sail in range(4):
        _draw_sail(draw, (x, top - 14), seconds * 0.9 + sail * math.pi / 2)
    draw.ellipse((x - 11, top - 25, x + 11, top - 3), fill=INK)


def _draw_sail(draw: ImageDraw.ImageDraw, hub: Point, angle: float) -> None:
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))

    def at(far: float, aside: float) -> Point:
        return hub[0] + along[0] * far + across[0] * aside, hub[1] + along[1] * far + across[1] * aside

    draw.line([at(0, 0), at(176, 0)], fill=INK, width=6)
    draw.polygon([at(40, 3), at(172, 3), at(172, 38), at(40, 32)], outline=INK, width=3)
    for rung in range(52, 172, 12):
        draw.line([at(rung, 3), at(rung, 35)], fill=INK, width=3)
    draw.line([at(40, 19), at(172, 20)], fill=INK, width=3)


def draw_sign(draw: ImageDraw.ImageDraw, frame: int, fonts: Fonts) -> None:
    """Letters of three sizes, the running time, and the lamp that flashes at each full second."""
    draw.rectangle((1010, 440, 1022, 700), fill=(92, 66, 54), outline=INK, width=3)
    draw.rounded_rectangle((850, 460, 1250, 606), 14, fill=PAPER, outline=INK, width=5)
    draw.text((1050, 496), "MILL LANE", font=fonts[15], fill=INK, anchor="mm")
    draw.text((1050, 544), "River 4 km   Old wood 12 km", font=fonts[7], fill=(128, 44, 40), anchor="mm")
    clock = f"{frame // RATE}:{frame % RATE:02d}   frame {frame:03d}"
    draw.text((1050, 580), clock, font=fonts[7], fill=(40, 74, 110), anchor="mm")
    is_lit = frame % RATE < FLASH
    if is_lit:
        radius = 44 - 6 * (frame % RATE)
        for ray in range(12):
            x, y = math.cos(ray * math.tau / 12), math.sin(ray * math.tau / 12)
            draw.line((1016 + 26 * x, 422 + 26 * y, 1016 + radius * x, 422 + radius * y), fill=(255, 250, 214), width=4)
    fill = (255, 250, 214) if is_lit else (112, 84, 62)
    draw.ellipse((998, 404, 1034, 440), fill=fill, outline=INK, width=4)


def draw_grass(draw: ImageDraw.ImageDraw, blades: npt.NDArray[np.float64], seconds: float) -> None:
    """Thin bent strokes that sway in the wind."""
    for place, tall, lean, shade in blades:
        x, y = place * 1300 - 10, 735 - shade * 60
        height = 26 + 50 * tall
        sway = (lean - 0.5) * 36 + 14 * math.sin(seconds * 2.6 + place * 9)
        color = _rgb(blend((34, 62, 40), (206, 210, 118), np.full((1, 1), shade, np.float32))[0, 0])
        tip = [(x, y), (x, y - height * 0.5), (x + sway * 0.4, y - height * 0.8), (x + sway, y - height)]
        draw.line(curve(tip, 8), fill=color, width=3, joint="curve")


def draw_frame(scene: Scene, frame: int) -> Image.Image:
    """One frame at its final size, RGB."""
    seconds = frame / RATE
    image = Image.fromarray(scene.sky.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw_sun(draw, seconds)
    draw_birds(draw, seconds)
    for layer, speed in ((scene.far, 10), (scene.wood, 34)):  # fine pixels a second
        left = round(seconds * speed)
        part = layer.crop((left, 0, left + scene.width, scene.height))
        image.paste(part, (0, 0), part)
    draw_balloon(draw, seconds, scene.fonts)
    image.paste(scene.meadow, (0, 0), scene.meadow)
    draw_mill(draw, seconds)
    draw_sign(draw, frame, scene.fonts)
    draw_grass(draw, scene.blades, seconds)
    return image.filter(ImageFilter.GaussianBlur(0.6)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def to_yuv420(image: Image.Image) -> list[npt.NDArray[np.uint8]]:
    """Y, Cb and Cr: BT.709, limited range, chroma sited left, all in arithmetic of our own."""
    rgb = np.asarray(image, np.float64) / 255
    y = rgb @ (0.2126, 0.7152, 0.0722)
    chroma = [(rgb[..., 2] - y) / 1.8556, (rgb[..., 0] - y) / 1.5748]
    planes = [16 + 219 * y]
    for full in chroma:
        wide = np.pad(full, ((0, 0), (1, 0)), mode="edge")  # the column before each even one
        across = (wide[:, :-1:2] + 2 * wide[:, 1::2] + np.pad(full, ((0, 0), (0, 1)), mode="edge")[:, 1::2]) / 4
        planes.append(128 + 224 * (across[::2] + across[1::2]) / 2)
    return [plane.round().clip(0, 255).astype(np.uint8) for plane in planes]


def make_sound() -> npt.NDArray[np.float32]:
    """(2, samples) in [-1, 1]: a soft tune of plucked notes, a low chord below, a click at each full second."""
    total = SAMPLE_RATE * SECONDS
    sound = np.zeros((2, total))
    tune = [69, 73, 76, 81, 78, 76, 73, 71, 69, 71, 73, 76, 74, 73, 71, 69]  # MIDI notes, four a second
    for place, note in enumerate(tune):
        _add(sound, place / 4, _pluck(note, 0.9), pan=0.5 + 0.3 * math.sin(place))
    for second, chord in enumerate([(45, 57), (42, 54), (38, 50), (40, 52)]):
        for note in chord:
            _add(sound, second, _pluck(note, 1.4) * 0.7, pan=0.5)
    for second in range(SECONDS):
        time = np.arange(SAMPLE_RATE // 50) / SAMPLE_RATE
        _add(sound, second, 1.6 * np.sin(math.tau * 2000 * time) * np.exp(-time * 300), pan=0.5)
    fade = np.minimum(1, (total - np.arange(total)) / (SAMPLE_RATE * 0.15))
    return (0.28 * sound * fade).astype(np.float32)


def _pluck(note: int, seconds: float) -> npt.NDArray[np.float64]:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = math.tau * 440 * 2 ** ((note - 69) / 12) * time
    tone = np.sin(pitch) + 0.35 * np.sin(2 * pitch) + 0.12 * np.sin(3 * pitch)
    return tone * np.exp(-4 * time) * np.minimum(1, time / 0.006)


def _add(sound: npt.NDArray[np.float64], at: float, part: npt.NDArray[np.float64], *, pan: float) -> None:
    start = round(at * SAMPLE_RATE)
    part = part[: sound.shape[1] - start]
    sound[:, start : start + len(part)] += np.array([[1 - pan], [pan]]) * part


def write(path: Path) -> None:
    """Draw and encode the whole clip."""
    scene = Scene()
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = video.codec_context
        context.thread_count = 1
        context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709
        context.color_range = 1  # limited
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 80_000
        for number in range(RATE * SECONDS):
            container.mux(video.encode(_video_frame(draw_frame(scene, number), number)))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(make_sound(), format="fltp", layout="stereo")
        sound.sample_rate = SAMPLE_RATE
        sound.pts, sound.time_base = 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _video_frame(image: Image.Image, number: int) -> av.VideoFrame:
    planes = to_yuv420(image)
    frame = av.VideoFrame.from_ndarray(np.concatenate([plane.reshape(-1, WIDTH) for plane in planes]), format="yuv420p")
    frame.color_range = 1
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


if __name__ == "__main__":
    write(OUTPUT)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes")
