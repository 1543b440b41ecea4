"""tf_keras files whose layers wait for each other."""

import numpy as np
import pytest
import tf_keras

from sft_keras.errors import FileError
from sft_keras.quantization import load_model


def to_itself(layers):
    layers[1]["inbound_nodes"][0][0][0] = "dense"


def in_a_ring(layers):
    layers[1]["inbound_nodes"][0][0][0] = "relu"


def in_an_argument(layers):
    layers[1]["inbound_nodes"][0][0][3] = {"mask": [["relu", 0, 0]]}


def to_a_later_call(layers):
    layers[2]["inbound_nodes"][0][0][1] = 1


def to_no_layer(layers):
    layers[1]["inbound_nodes"][0][0][0] = "absent"


def twice(layers):
    layers.append(layers[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (to_itself, "'dense' waits for its own output"),
        (in_a_ring, "'(dense|relu)' waits for its own output"),
        (in_an_argument, "'(dense|relu)' waits for its own output"),
        (to_a_later_call, "'dense' is taken from call 1, which there is not"),
        (to_no_layer, "'absent' is taken from call 0"),
        (twice, "'dense' is there twice"),
    ],
)
def test_layers_that_wait_for_ever_are_refused(edited, change, reason):
    path = edited(lambda config: change(config["layers"]))
    with pytest.raises(FileError, match=rf"model\.keras', layer {reason}"):
        load_model(path)


def test_one_number_for_two_layers_is_refused(edited):
    def change(config):
        for layer in config["layers"]:
            layer["shared_object_id"] = 7

    with pytest.raises(FileError, match="two objects of one number"):
        load_model(edited(change))


def test_a_layer_that_is_called_again_on_its_own_output_is_loaded(tmp_path):
    inputs = tf_keras.Input((4,))
    dense = tf_keras.layers.Dense(4)
    inner = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(4)])
    x = inner(dense(inner(dense(inputs))))
    model = tf_keras.Model(inputs, tf_keras.layers.Add()([x, inputs]))
    model.save(tmp_path / "model.keras")
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(x), model(x))
