"""`vsr eval`: each form of its table, read back, and one line for what goes wrong."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image

from vsr.cli import run
from vsr.evaluate import table
from vsr.evaluate.report import ItemScores, Report, Row
from vsr.evaluate.scores import KEYS, Scores


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep weights of metrics that the user has out of the tests."""
    monkeypatch.delenv("VSR_MODELS", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path.with_name(f"{tmp_path.name}-cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures that the network `nearest` makes exactly, and bicubic does not."""
    folder = tmp_path / "blocks"
    for number in range(2):
        low = np.random.default_rng(number).integers(0, 256, (32, 40, 3), np.uint8)
        for half, picture in (("LR", low), ("HR", low.repeat(2, 0).repeat(2, 1))):
            (folder / "x2" / half).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "x2" / half / f"{number}_{half}.png")
    return folder


@pytest.fixture
def told(data: Path, nearest: Path, capsys: pytest.CaptureFixture[str]):
    """What `vsr eval` says on stdout of `nearest` and bicubic on the data, with more words."""

    def evaluate(*words: str) -> str:
        models = ["--model", str(nearest), "--model", "bicubic"]
        assert run(["eval", *models, "--scale", "2", "--data", str(data), "--device", "cpu", *words]) == 0
        return capsys.readouterr().out

    return evaluate


def test_the_table_has_a_row_for_each_model_and_says_what_is_missing(told):
    heading, first, second, *rest = told().splitlines()
    assert heading.split() == ["data", "material", "model", "PSNR-Y", "SSIM-Y", "PSNR-RGB", "LPIPS", "NIQE"]
    assert " ".join(first.split()) == "blocks LR given nearest-x2 inf 1.0000 inf no weights no weights"
    assert second.split()[0] == "bicubic"
    assert 10 < float(second.split()[1]) < 30
    assert len(heading) == len(first) == len(second)
    assert "border of 2 pixels" in rest[1]


def test_csv_has_a_line_for_each_set_and_model(told):
    exact, bicubic = csv.DictReader(io.StringIO(told("--csv", "-")))
    assert (exact["data"], exact["material"], exact["scale"], exact["items"]) == ("blocks", "LR given", "2", "2")
    assert float(exact["psnr_y"]) == float("inf")
    assert exact["lpips"] == "no weights"
    assert exact["static_change"] == ""
    assert 10 < float(bicubic["psnr_rgb"]) < 30


def test_json_holds_every_picture_and_no_infinity(told):
    found = json.loads(told("--json", "-"), parse_constant=pytest.fail)
    assert (found["scale"], found["shaved"], found["no_weights"]) == (2, 2, ["lpips", "niqe"])
    exact, bicubic = found["rows"]
    assert exact["mean"] == dict.fromkeys(KEYS) | {"ssim_y": pytest.approx(1)}
    assert [item["name"] for item in bicubic["items"]] == ["0_HR.png", "1_HR.png"]
    each = [item["psnr_y"] for item in bicubic["items"]]
    assert bicubic["mean"]["psnr_y"] == pytest.approx(sum(each) / 2)


def test_markdown_is_a_table(told):
    lines = told("--markdown", "-").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    assert rows[1] == ["---"] * 3 + ["---:"] * 5
    assert [row[:3] for row in rows[2:]] == [["blocks", "LR given", "nearest-x2"], ["blocks", "LR given", "bicubic"]]
    assert {len(row) for row in rows} == {8}


def test_files_are_written_beside_the_table(told, tmp_path: Path):
    names = {form: tmp_path / f"out.{form}" for form in ("csv", "json", "markdown")}
    shown = told(*(word for form, path in names.items() for word in (f"--{form}", str(path))))
    assert shown.startswith("data")
    assert names["csv"].read_text().startswith("data,")
    assert json.loads(names["json"].read_text())["rows"]
    assert names["markdown"].read_text().startswith("| data")


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_a_sheet_is_saved_in_the_format_of_its_suffix(told, tmp_path: Path, suffix: str):
    told("--sheet", str(tmp_path / f"look.{suffix}"), "--sheet-picture", "1_HR.png")
    with Image.open(tmp_path / f"look.{suffix}") as sheet:
        assert sheet.format == {"jpg": "JPEG"}.get(suffix, suffix.upper())
        assert sheet.width > 3 * 80  # a network, bicubic and the truth


def test_more_data_can_follow_the_option(told, data: Path):
    picture = data / "x2" / "HR" / "0_HR.png"
    rows = list(csv.DictReader(io.StringIO(told(str(picture), "--csv", "-"))))
    assert [(row["data"], row["material"], row["items"]) for row in rows[::2]] == [
        ("blocks", "LR given", "2"),
        ("0_HR", "LR by bicubic", "1"),
    ]


def test_weights_can_be_in_the_cache(told, media: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VSR_MODELS", str(media / "weights"))
    first = told().splitlines()[1]
    assert "no weights" not in first
    assert first.split()[-2:] == ["0.0000", "–"]  # noqa: RUF001  # equal; and too small for NIQE


def test_damage_is_named_and_follows_the_seed(told):
    words = ("--degrade", "real_world", "--seed", "1", "--csv", "-")
    once = told(*words)
    assert "damaged by real_world, seed 1" in once
    assert told(*words) == once


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model", "bicubik"], "bicubik"),
        (["--model", "bicubic"], "bicubic: given twice"),
        (["--data", "nowhere"], "nowhere: no such folder or file"),
        (["--degrade", "nothing"], "'nothing' is unknown"),
        (["--crop", "31"], "crop = 31: give a multiple of the scale"),
        (["--crop", "96"], r"smaller than the crop of 96 pixels: 0_HR.png (80x64), 1_HR.png (80x64)"),
        (["--metric-weights", "nowhere"], "nowhere: no such file or folder"),
        (["--csv", "nowhere/out.csv"], "there is no folder nowhere"),
        (["--sheet", "look.png", "--sheet-picture", "9.png"], "9.png: not in the data"),
    ],
)
def test_what_the_user_can_mend_is_one_line(words, line, data: Path, capsys):
    assert run(["eval", "--model", "bicubic", "--scale", "2", "--data", str(data), *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def test_a_folder_without_pictures_is_one_line(tmp_path: Path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(["eval", "--model", "bicubic", "--data", str(tmp_path / "empty")]) == 1
    assert "no picture or clip in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["--data", "d", "--csv", "-", "--json", "-"], ["--data", "d", "--sheet", "look.txt"]]
)
def test_misuse_has_status_2(words, capsys):
    assert run(["eval", "--model", "bicubic", *words]) == 2
    assert capsys.readouterr().err.startswith("Usage: vsr eval")


def test_a_bar_in_a_name_does_not_break_the_markdown():
    row = Row(data="a|b", material="LR given", model="m", items=(ItemScores(name="x", scores=Scores(psnr_y=30.0)),))
    assert "| a\\|b | LR given | m | 30.000 |" in table.markdown(Report(scale=4, rows=(row,)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full disk to offer")
def test_a_full_disk_is_one_line(data: Path, capsys):
    assert run(["eval", "--model", "bicubic", "--scale", "2", "--data", str(data), "--csv", "/dev/full"]) == 1
    assert "/dev/full: the disk is full" in capsys.readouterr().err
