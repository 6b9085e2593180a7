"""Model cards: what they say is what was measured, of the file that is embedded."""

import re

import pytest

from benchmarks.model_card import DOCS, card_table
from benchmarks.report import load
from vsr.models.catalog import EMBEDDED
from vsr.models.checkpoint import load_model
from vsr.models.store import find

each_model = pytest.mark.parametrize("name", EMBEDDED)


def card(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


@each_model
def test_the_table_is_what_was_measured(name: str):
    found = re.search("<!-- figures -->\n(.*)\n<!-- /figures -->", card(name), re.DOTALL)
    assert found is not None
    assert found[1] == card_table(name)


@each_model
def test_the_file_measured_is_the_file_embedded(name: str):
    _, spec = load_model(find(name))
    assert load(name)["sha256"] == spec.sha256


@each_model
def test_the_model_is_better_than_bicubic_where_its_card_promises(name: str):
    gains = {row["material"]: row["psnr_model"] - row["psnr_bicubic"] for row in load(name)["rows"]}
    assert gains["Set5"] >= 0.3
    if name in ("vsr-fast-x4", "vsr-video-x4"):  # the others are of other material, or of another scale
        assert gains["carphone_pristine, x264 CRF 32"] >= 0.3


@each_model
def test_the_card_names_what_the_file_was_trained_on(name: str):
    _, spec = load_model(find(name))
    assert spec.trained_on in " ".join(card(name).split())
    assert f"Licence of the weights: {spec.licence}" in card(name)


@each_model
def test_the_sheet_is_small_and_shown(name: str):
    sheet = DOCS / f"{name}.webp"
    assert f"({sheet.name})" in card(name)
    assert sheet.stat().st_size <= 200_000


@pytest.mark.parametrize("name", [name for name in EMBEDDED if name != "vsr-fast-x4"])  # older than this floor
def test_on_damaged_material_a_network_is_better_than_bicubic_in_every_way(name: str):
    tables: dict[tuple, dict[str, dict]] = {}
    for row in load("quality")["rows"]:
        tables.setdefault((row["scale"], row["data"], row["material"]), {})[row["model"]] = row["mean"]
    compared = 0
    for (_, data, material), means in tables.items():
        is_foreign = name == "vsr-anime-x4" and data == "Set14"  # photographs, but for one picture
        if name not in means or is_foreign or not material.startswith("damaged"):
            continue
        own, bicubic = means[name], means["bicubic"]
        assert own["psnr_y"] > bicubic["psnr_y"]
        assert own["ssim_y"] > bicubic["ssim_y"]
        assert own["lpips"] < bicubic["lpips"]
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_network_adds_no_tint_and_no_grid(name: str):
    for row in (row for row in load("cleanliness")["rows"] if row["model"] == name):
        assert row["tint_clean"] < 1
        assert max(row["period_2"], row["period_4"]) <= 1.1
        assert row["flat_clean"] < 1
        assert row["static"] <= 1.2
