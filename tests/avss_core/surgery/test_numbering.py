from pathlib import Path

import pytest

from avss_core.models.configuration import kept_layers
from avss_core.surgery.numbering import check_own_layers, layer_map


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([4], "layer 4 does not exist: the model has layers 0 to 3. The checkpoint was pruned before: its "
              "layers 0 to 3 were 0, 2, 3, 5 in the dense model, the others are gone"),
        ([1, 1], "a layer is named twice in .*was pruned before"),
        ([0, 1, 2, 3], "cannot remove all 4 layers: .*was pruned before"),
    ],
)  # fmt: skip
def test_numbers_of_the_dense_model_are_explained(removed: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_own_layers(removed, [0, 2, 3, 5])


def test_numbers_of_a_model_that_was_never_pruned_need_no_explanation() -> None:
    with pytest.raises(ValueError, match=r"the model has layers 0 to 3$"):
        check_own_layers([4], [0, 1, 2, 3])
    assert check_own_layers([3, 1], [0, 2, 3, 5]) == [1, 3]


def test_a_model_that_was_never_pruned_has_the_identity_as_its_map(checkpoint: Path) -> None:
    assert layer_map(checkpoint, 4) == [0, 1, 2, 3]
    assert kept_layers(4, []) == [0, 1, 2, 3]
