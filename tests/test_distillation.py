import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import Distill, SoftFilterPrune, flavors, shrink
from sft_keras.cloning import compiled_copy
from sft_keras.distillation import teach
from sft_keras.errors import ArgumentError, UnsupportedError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6, 6, 2)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype("int32")
SPARSE = "sparse_categorical_crossentropy"
EXACT = {"rtol": 1e-5, "atol": 1e-6}


def conv_net(flavor, loss=SPARSE, units=2, activation="softmax", seed=0, head="out"):
    flavor.utils.set_random_seed(seed)
    layers = flavor.layers
    x = image = flavor.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5, name="bn")(x))
    x = layers.GlobalAveragePooling2D()(x)
    out = layers.Dense(units, activation=activation, name=head)(x)
    model = flavor.Model(image, out, name="student")
    model.compile(flavor.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


def fitted(flavor, model, callbacks=(), epochs=2, y=Y, **options):
    flavor.utils.set_random_seed(1)
    options = {"batch_size": 16, "verbose": 0, "callbacks": [*callbacks], **options}
    return model.fit(X, y, epochs=epochs, **options).history


def gap(model, teacher):
    return float(np.abs(model.predict(X, verbose=0) - teacher.predict(X, verbose=0)).mean())


def added(flavor, model, teacher, y=Y, **options):
    """What the teacher adds to the loss of one batch, by the loss that `fit` minimizes."""
    detach = teach(model, teacher, **options)
    x, y = flavors.to_tensor(X, model), flavors.to_tensor(y, model)
    outputs = model(x, training=False)
    total = np.asarray(model.compute_loss(x, y, outputs, None))
    detach()
    return float(total - np.asarray(model.compute_loss(x, y, outputs, None)))


@pytest.mark.parametrize("prune", [False, True])
def test_weight_0_gives_what_plain_fit_gives(flavor, prune):
    plain, taught = conv_net(flavor), conv_net(flavor)
    callbacks = [SoftFilterPrune()] if prune else []
    fitted(flavor, plain, callbacks, epochs=4)
    distill = Distill(conv_net(flavor, seed=5), weight=0)
    fitted(flavor, taught, [distill, *([SoftFilterPrune()] if prune else [])], epochs=4)
    for a, b in zip(plain.get_weights(), taught.get_weights(), strict=True):
        assert np.allclose(a, b, **EXACT)


def test_model_comes_closer_to_its_teacher_which_stays(flavor):
    teacher = conv_net(flavor, seed=5)
    before = [w.copy() for w in teacher.get_weights()]
    plain, taught = conv_net(flavor), conv_net(flavor)
    fitted(flavor, plain, epochs=10)
    fitted(flavor, taught, [Distill(teacher, weight=10.0)], epochs=10)
    assert gap(taught, teacher) < 0.5 * gap(plain, teacher)
    assert all(map(np.array_equal, before, teacher.get_weights()))
    assert teacher.trainable
    assert all(layer.trainable for layer in teacher.layers)


def test_term_is_the_published_one(flavor):
    """w·T²·KL(softmax(z_teacher / T) ‖ softmax(z / T)), from probabilities and from logits."""
    temperature, z = 4.0, {}
    loss = flavor.losses.SparseCategoricalCrossentropy(from_logits=True)
    on_logits = [conv_net(flavor, loss, 5, None, seed) for seed in (0, 5)]
    on_probabilities = [conv_net(flavor, units=5, seed=seed) for seed in (0, 5)]
    z = [model.predict(X, verbose=0).astype(float) / temperature for model in on_logits]
    q, p = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in z)
    expected = 3 * temperature**2 * (p * np.log(p / q)).sum(-1).mean()
    options = {"temperature": temperature, "weight": 3}
    for model, teacher in (
        on_logits,
        on_probabilities,
        (on_logits[0], on_probabilities[1]),
        (on_probabilities[0], on_logits[1]),
    ):
        assert added(flavor, model, teacher, **options) == pytest.approx(expected, rel=1e-3)
    assert added(flavor, *on_logits[:1] * 2, **options) == pytest.approx(0, abs=1e-5)


def test_binary_outputs_are_two_classes(flavor):
    loss = flavor.losses.BinaryCrossentropy(from_logits=True)
    on_logits = [conv_net(flavor, loss, 3, None, seed) for seed in (0, 5)]
    on_probabilities = [conv_net(flavor, "binary_crossentropy", 3, "sigmoid", s) for s in (0, 5)]
    q, p = (1 / (1 + np.exp(-m.predict(X, verbose=0).astype(float) / 2)) for m in on_logits)
    expected = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    labels = np.stack([Y, Y, 1 - Y], axis=-1).astype("float32")
    for model, teacher in (on_logits, on_probabilities, (on_logits[0], on_probabilities[1])):
        got = added(flavor, model, teacher, labels, temperature=2.0, weight=1.0)
        assert got == pytest.approx(expected, rel=1e-3)


def test_other_losses_compare_by_mse(flavor):
    model, teacher = (conv_net(flavor, "mae", 3, None, seed) for seed in (0, 5))
    expected = np.square(model.predict(X, verbose=0) - teacher.predict(X, verbose=0)).mean()
    got = added(flavor, model, teacher, np.zeros((64, 3), "float32"), weight=2.0)
    assert got == pytest.approx(2 * expected, rel=1e-4)


def test_validation_and_evaluate_show_the_plain_loss(flavor):
    model = conv_net(flavor)
    options = {"validation_data": (X, Y), "epochs": 2}
    history = fitted(flavor, model, [Distill(conv_net(flavor, seed=5), weight=2.0)], **options)
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y, verbose=0)[0], rel=1e-4)
    loss = flavor.losses.SparseCategoricalCrossentropy()(Y, model.predict(X, verbose=0))
    assert history["val_loss"][-1] == pytest.approx(float(loss), rel=1e-4)


def test_afterwards_nothing_of_it_is_left(flavor, tmp_path):
    model = conv_net(flavor)
    fitted(flavor, model, [Distill(weight=100.0)])
    other = compiled_copy(model)
    fitted(flavor, model)
    fitted(flavor, other)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, **EXACT)
    model.save(tmp_path / "model.keras")
    assert type(flavor.models.load_model(tmp_path / "model.keras")) is type(other)


def test_a_fit_that_was_broken_off_leaves_one_term(flavor):
    class Stop(flavor.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    model, distill = conv_net(flavor), Distill()
    with pytest.raises(KeyboardInterrupt):
        fitted(flavor, model, [distill, Stop()])
    distill.on_train_begin()
    assert len(model.compute_loss.terms) == 1
    distill.on_train_end()
    assert "compute_loss" not in vars(model)


def test_a_plain_fit_behind_one_that_was_broken_off_is_plain(flavor):
    class Stop(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, other = conv_net(flavor), conv_net(flavor)
    with pytest.raises(KeyboardInterrupt):
        fitted(flavor, model, [Distill(conv_net(flavor, seed=5), weight=100.0), Stop()])
    other.set_weights(model.get_weights())
    fitted(flavor, model)
    fitted(flavor, other)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert np.allclose(a, b, **EXACT)
    assert not {"compute_loss", "fit"} & vars(model).keys()


def test_each_model_is_its_own_teacher(flavor):
    distill = Distill()
    for model in (conv_net(flavor), conv_net(flavor, units=3)):
        before = [w.copy() for w in model.get_weights()]
        fitted(flavor, model, [distill])
        assert all(map(np.array_equal, distill.teacher.get_weights(), before))
    assert Distill.from_config(distill.get_config()).teacher is None


@pytest.mark.parametrize("order", [1, -1])
def test_pruned_with_its_former_self_as_teacher(flavor, order):
    model = conv_net(flavor)
    before = [w.copy() for w in model.get_weights()]
    distill = Distill()
    callbacks = [distill, SoftFilterPrune()][::order]
    history = fitted(flavor, model, callbacks, epochs=4)
    assert history["pruned_filters"][-1] == 4
    assert all(map(np.array_equal, before, distill.teacher.get_weights()))
    small = shrink(model)
    assert small.get_layer("conv").filters == 4
    assert small.predict(X, verbose=0) == pytest.approx(model.predict(X, verbose=0), abs=1e-5)


def double(x):
    return 2.0 * x


def of_a_lambda(layers, x):
    return layers.Conv2D(4, 3)(layers.Lambda(double)(x))


def of_a_function(layers, x):
    return layers.Conv2D(4, 3, activation=double)(x)


def of_a_shared_layer(layers, x):
    conv = layers.Conv2D(2, 3, padding="same", name="shared")
    inner = layers.Input((6, 6, 2))
    library = flavors.library(conv)
    return conv(library.Model(inner, conv(inner), name="inner")(x))


@pytest.mark.parametrize("head", [of_a_lambda, of_a_function, of_a_shared_layer])
def test_models_that_no_config_can_make_anew_are_copied(flavor, head):
    x = flavor.Input((6, 6, 2))
    y = flavor.layers.GlobalAveragePooling2D()(head(flavor.layers, x))
    model = flavor.Model(x, flavor.layers.Dense(2, activation="softmax")(y))
    model.compile("adam", SPARSE)
    copy = compiled_copy(model)
    assert copy.count_params() == model.count_params()
    assert np.array_equal(copy.predict(X, verbose=0), model.predict(X, verbose=0))
    fitted(flavor, model, [Distill()])
    assert gap(copy, model) > 0


def test_a_model_that_is_its_own_teacher_is_copied(flavor):
    model = conv_net(flavor)
    before = [w.copy() for w in model.get_weights()]
    distill = Distill(model)
    fitted(flavor, model, [distill])
    assert distill.teacher is not model
    assert all(map(np.array_equal, before, distill.teacher.get_weights()))


def test_penalties_still_count(flavor):
    """A λ that outweighs all else empties γ; as strongly with a teacher as without."""
    gammas = []
    for callbacks in ([], [Distill(conv_net(flavor, seed=5))]):
        model = conv_net(flavor)
        prune = SoftFilterPrune(0.5, l1=20.0, phases=sft_keras.schedules.Phases(soft_share=1.0))
        fitted(flavor, model, [prune, *callbacks], epochs=1)
        gammas.append(np.abs(model.get_layer("bn").get_weights()[0]).sum())
    assert gammas[1] == pytest.approx(gammas[0], rel=0.1)


def two_outputs(flavor, loss, seed=0):
    flavor.utils.set_random_seed(seed)
    layers = flavor.layers
    image = flavor.Input((6, 6, 2))
    x = layers.Flatten()(image)
    outputs = {
        "size": layers.Dense(1, name="size")(x),
        "kind": layers.Dense(3, activation="softmax", name="kind")(x),
    }
    model = flavor.Model(image, outputs)
    model.compile("sgd", loss)
    return model


def test_each_output_by_its_loss(flavor):
    labels = {"kind": Y % 3, "size": X.mean(axis=(1, 2, 3))[:, None]}
    both, one = {"kind": SPARSE, "size": "mse"}, {"kind": SPARSE, "size": None}
    model, teacher = (two_outputs(flavor, both, seed) for seed in (0, 5))
    p, q = (m.predict(X, verbose=0) for m in (teacher, model))
    kl = (p["kind"] * np.log(p["kind"] / q["kind"])).sum(-1).mean()
    mse = np.square(p["size"] - q["size"]).mean()
    for loss, expected in ((both, kl + mse), (one, kl)):
        model = two_outputs(flavor, loss)
        fitted(flavor, model, [Distill(teacher, weight=0.0)], y=labels)  # the losses are built
        model.set_weights(two_outputs(flavor, loss).get_weights())
        teach(model, teacher, temperature=1.0, weight=1.0)
        x = flavors.to_tensor(X, model)
        y = {key: flavors.to_tensor(value, model) for key, value in labels.items()}
        outputs = model(x, training=False)
        term = model.compute_loss.terms[0](x, outputs, None)
        assert float(term) == pytest.approx(expected, rel=1e-3)
        assert np.isfinite(float(model.compute_loss(x, y, outputs, None)))


def test_samples_without_weight_do_not_count(flavor):
    weights = (np.arange(64) % 2).astype("float32")
    taught = []
    for change in (0, 1):
        x = X.copy()
        x[::2] += change
        model = conv_net(flavor)
        detach = teach(model, conv_net(flavor, seed=5))
        x = flavors.to_tensor(x, model)
        term = model.compute_loss.terms[0]
        taught.append(float(term(x, model(x, training=False), flavors.to_tensor(weights, model))))
        detach()
    assert taught[0] == pytest.approx(taught[1], rel=1e-5)


def test_mixed_precision(flavor):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        model, teacher = conv_net(flavor), conv_net(flavor, seed=5)
        history = fitted(flavor, model, [Distill(teacher)])
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history["loss"]).all()


def test_teacher_of_keras_3_for_a_model_of_tf_keras():
    teacher, model = conv_net(keras, seed=5), conv_net(tf_keras)
    plain = conv_net(tf_keras)
    fitted(tf_keras, plain, epochs=10)
    fitted(tf_keras, model, [Distill(teacher, weight=10.0)], epochs=10)
    assert gap(model, teacher) < gap(plain, teacher)


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def own_step():
    base = conv_net(keras)
    model = OwnStep(base.inputs, base.outputs, name="own")
    model.compile("sgd", SPARSE)
    return model


def uncompiled(flavor):
    return flavor.Sequential([flavor.Input((6, 6, 2)), flavor.layers.Flatten()], name="raw")


@pytest.mark.parametrize(
    ("teacher", "match"),
    [
        (lambda: conv_net(keras, units=3), r"has outputs of shape \(3,\), model 'student' \(2,\)"),
        (lambda: two_outputs(keras, "mse"), r"has outputs of shape \(3,\), \(1,\), model"),
        (lambda: conv_net(keras, "mse"), "has losses for numbers, model 'student' classes"),
        (lambda: conv_net(tf_keras), "is a tf_keras model"),
    ],
)
def test_teachers_that_do_not_fit(teacher, match):
    model = conv_net(keras)
    with pytest.raises(ArgumentError, match=match) as error:
        fitted(keras, model, [Distill(teacher())])
    assert "take a teacher of" in str(error.value)
    assert "\n" not in str(error.value)
    assert "compute_loss" not in vars(model)


def test_models_that_cannot_be_taught():
    with pytest.raises(UnsupportedError, match="call its compile"):
        fitted(keras, conv_net(keras), [Distill(uncompiled(keras))])
    with pytest.raises(UnsupportedError, match="was compiled without a loss"):
        fitted(keras, conv_net(keras, None), [Distill(conv_net(keras))])
    with pytest.raises(UnsupportedError, match="has a train_step of its own"):
        fitted(keras, own_step(), [Distill(conv_net(keras))])


@pytest.mark.parametrize("arguments", [{"temperature": 0}, {"weight": -1}, {"weight": np.nan}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))} is .*; take"):
        Distill(**arguments)


def distiller(student, teacher, weight=0.5):
    made = keras.distillation.Distiller(
        teacher, student, keras.distillation.LogitsDistillation(), student_loss_weight=weight
    )
    made.compile(keras.optimizers.SGD(0.1), SPARSE, metrics=["accuracy"])
    return made


def test_the_student_of_keras_own_distiller_is_pruned():
    student, teacher = conv_net(keras), conv_net(keras, seed=5)
    before = [w.copy() for w in teacher.get_weights()]
    model = distiller(student, teacher)
    options = {"epochs": 4, "validation_data": (X, Y)}
    history = fitted(keras, model, [SoftFilterPrune()], **options)
    assert history["pruned_filters"] == [4] * 4
    assert history["val_accuracy"][-1] == student.evaluate(X, Y, verbose=0)[1]
    assert shrink(student).get_layer("conv").filters == 4
    assert all(map(np.array_equal, before, teacher.get_weights()))
    assert "compute_loss" not in vars(model)


def test_the_penalty_reaches_the_loss_of_keras_own_distiller():
    """Keras' Distiller leaves the regularization losses of its student out."""
    one_prune_epoch = sft_keras.schedules.Phases(soft_share=1.0)
    gammas = []
    for wrap in (lambda m: m, lambda m: distiller(m, conv_net(keras, seed=5), 1.0)):
        student = conv_net(keras)
        prune = SoftFilterPrune(0.5, l1=1.0, phases=one_prune_epoch)
        fitted(keras, wrap(student), [prune], epochs=1)
        gammas.append(student.get_layer("bn").get_weights()[0])
    assert gammas[1] == pytest.approx(gammas[0], rel=1e-5)
