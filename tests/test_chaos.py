"""The short form of ``make chaos``: commands end with the bytes of undisturbed ones, whatever was killed."""

import random

import pytest

from tests.chaos.curation import curation
from tests.chaos.evaluation import evaluation
from tests.chaos.kills import chaos
from tests.chaos.training import training

pytestmark = pytest.mark.slow


def test_a_curation_whose_command_and_workers_are_killed(tmp_path):
    chance = random.Random(1)
    assert chaos(curation(chance), tmp_path, 15, chance).total() == 15


def test_a_training_that_is_killed(tmp_path):
    assert chaos(training(), tmp_path, 2, random.Random(2)).total() == 2


def test_an_evaluation_whose_command_and_model_server_are_killed(tmp_path):
    with evaluation(tmp_path) as work:
        assert len(chaos(work, tmp_path / "run", 3, random.Random(3))) == 2
