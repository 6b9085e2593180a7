"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real media named by VSR_TEST_DATA: unset skips, set and missing fails."""
    named = os.environ.get("VSR_TEST_DATA")
    if not named:
        pytest.skip("VSR_TEST_DATA is not set: real media are not at hand")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"VSR_TEST_DATA={named}: no such folder")
    return folder
