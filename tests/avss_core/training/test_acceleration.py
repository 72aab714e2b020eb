"""An accelerator for each training, that leaves a user's own one alone."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from avss_core.training.acceleration import accelerator

CPU = torch.device("cpu")


def product(one: Accelerator) -> torch.Tensor:
    with one.autocast():
        return torch.ones(2, 2) @ torch.ones(2, 2)


def test_its_number_type_is_asked_for_each_time() -> None:
    for autocast, dtype in ((True, torch.bfloat16), (False, torch.float32), (True, torch.bfloat16)):
        with accelerator(CPU, autocast) as one:
            assert one.device == CPU
            assert product(one).dtype == dtype


@pytest.mark.parametrize("fails", [False, True])
def test_a_users_own_accelerator_works_on_as_before(fails: bool) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    own = Accelerator(cpu=True, mixed_precision="bf16")
    try:
        with accelerator(CPU, False) as one:
            assert product(one).dtype == torch.float32
            if fails:
                raise KeyError("in a training")
    except KeyError:
        assert fails
    assert product(own).dtype == torch.bfloat16
    assert own.state.mixed_precision == "bf16"


def test_nothing_is_left_behind_where_nothing_was() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    with accelerator(CPU, True):
        assert AcceleratorState._shared_state
    assert not AcceleratorState._shared_state
    assert not PartialState._shared_state
