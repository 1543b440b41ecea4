import pytest

import sft_keras
from sft_keras.cli.network import default_network
from sft_keras.errors import DataError


@pytest.mark.parametrize(
    ("shape", "blocks"), [((8, 8, 1), 2), ((4, 4, 1), 1), ((20, 33, 2), 4), ((64, 96, 3), 4)]
)
def test_network_halves_its_maps_down_to_four(shape, blocks):
    model = default_network(shape, 3)
    adds = [layer for layer in model.layers if layer.name.endswith("_add")]
    assert model.output_shape == (None, 3)
    assert len(adds) == blocks
    assert min(adds[-1].output.shape[1:3]) <= 4


def test_digits_network_is_small_and_every_hidden_filter_can_be_pruned():
    model = default_network((8, 8, 1), 10)
    assert 50_000 < sft_keras.cost(model).params < 100_000
    frozen = [group for group in sft_keras.channel_groups(model) if group.reason]
    assert len(frozen) == 1


@pytest.mark.parametrize("shape", [(8,), (8, 8), (2, 8, 8, 1)])
def test_network_for_what_is_no_image_is_refused(shape):
    with pytest.raises(DataError, match="--model"):
        default_network(shape, 2)
