import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import flavors
from sft_keras.errors import ArgumentError, FileError, UnsupportedError

RNG = np.random.default_rng(0)
Y = np.arange(64) % 2
X = (RNG.random((64, 6, 6, 1)) + 2 * Y[:, None, None, None]).astype("float32")
TRAIN, VAL = (X[:48], Y[:48]), (X[48:], Y[48:])


def trained(model):
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*TRAIN, epochs=10, verbose=0)
    return model


def compressed(model):
    prune = sft_keras.SoftFilterPrune(0.25)
    return sft_keras.compress(model, TRAIN, VAL, epochs=5, qat_epochs=5, prune=prune, verbose=0)


@pytest.fixture(scope="module")
def chain(small_model):
    model = trained(small_model())
    before = [w.copy() for w in model.get_weights()]
    return model, before, compressed(model)


def test_every_stage_is_what_the_public_functions_make(chain):
    _, _, result = chain
    assert np.sum(~result.pruned.get_layer("conv").get_weights()[0].any(axis=(0, 1, 2))) == 2
    assert result.shrunk.get_layer("conv").filters == 6
    assert np.allclose(result.shrunk(X), result.pruned(X), atol=1e-5)
    assert result.lite.inputs[0].dtype == result.lite.outputs[0].dtype == "int8"
    assert len(result.history["pruned_filters"]) == 5


def test_int8_file_still_tells_the_classes_apart(chain):
    _, _, result = chain
    assert result.verification["litert"].accuracy > 0.9
    assert result.verification.samples == len(VAL[1])


def test_given_model_is_not_changed(chain):
    model, before, _ = chain
    assert all(map(np.array_equal, model.get_weights(), before))


def test_same_seed_gives_the_same_models(chain, small_model):
    again = compressed(trained(small_model()))
    weights = again.quantized.get_weights(), chain[2].quantized.get_weights()
    assert all(map(np.array_equal, *weights))
    assert again.verification == chain[2].verification


def test_the_model_before_pruning_teaches_in_both_trainings(small_model, monkeypatch):
    model, taught = trained(small_model()), []

    def noted(student, teacher, *arguments):
        taught.append((flavors.library(student), teacher is model))
        return lambda: None

    monkeypatch.setattr("sft_keras.distillation.distill.teach", noted)
    monkeypatch.setattr("sft_keras.quantization.pipeline.teach", noted)
    options = {"epochs": 1, "qat_epochs": 1, "verbose": 0}
    sft_keras.compress(model, TRAIN, VAL, distill=True, **options)
    assert taught == [(keras, True), (tf_keras, True)]


def test_a_backup_of_other_data_is_refused(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr("sft_keras.compression.shrink", _cut)
    model, options = small_model(), {"epochs": 1, "verbose": 0}
    for train, error in ((TRAIN, KeyboardInterrupt), (VAL, FileError)):
        with pytest.raises(error), sft_keras.Backup(tmp_path / "saved") as backup:
            sft_keras.compress(model, train, VAL, backup=backup, **options)


def _cut(model):
    raise KeyboardInterrupt


def test_a_criterion_that_is_not_registered_needs_no_config(small_model, tmp_path, monkeypatch):
    def largest(filters):
        return np.abs(filters.weights).max(axis=1)

    monkeypatch.setattr("sft_keras.compression.shrink", _cut)
    prune = sft_keras.SoftFilterPrune(criterion=largest)
    options = {"epochs": 1, "prune": prune, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        sft_keras.compress(small_model(), TRAIN, VAL, **options)
    with pytest.raises(ArgumentError, match="largest"), sft_keras.Backup(tmp_path / "b") as backup:
        sft_keras.compress(small_model(), TRAIN, VAL, backup=backup, **options)


def test_model_that_was_not_compiled_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(UnsupportedError, match="has no loss and optimizer"):
        sft_keras.compress(model, TRAIN, VAL)


def test_model_without_prunable_filters_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((4, 4), "float32")
    with pytest.raises(UnsupportedError, match="no filter that can be pruned"):
        sft_keras.compress(model, (x, x[:, :2]), (x, x[:, :2]), verbose=0)


def test_model_that_cannot_be_quantized_is_refused_before_it_is_trained(small_model, monkeypatch):
    model = small_model()
    normal = keras.layers.LayerNormalization(name="normal")(model.outputs[0])
    model = keras.Model(model.inputs, normal)
    model.compile("adam", "sparse_categorical_crossentropy")
    monkeypatch.setattr("sft_keras.compression.fit", lambda *a, **options: pytest.fail("trained"))
    with pytest.raises(UnsupportedError, match="LayerNormalization that has no int8 form"):
        sft_keras.compress(model, TRAIN, VAL)
