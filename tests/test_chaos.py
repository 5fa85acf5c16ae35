"""The short form of ``make chaos``: `curate run` ends with the bytes of an undisturbed run, whatever was killed."""

import os
import random

import pytest

from tests.chaos import REPO, chaos, local_victims

KILLS = 15


@pytest.mark.slow
def test_random_kills_of_command_and_workers_leave_the_same_bytes(tmp_path):
    chance = random.Random(1)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    assert chaos(tmp_path, KILLS, chance, local_victims(chance), environment).total() == KILLS
