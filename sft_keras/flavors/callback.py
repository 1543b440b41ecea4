"""A callback for `fit` of either Keras."""

import keras


class Callback(keras.callbacks.Callback):
    """What `tf_keras.Model.fit` asks a callback, beyond what a Keras 3 callback answers."""

    _supports_tf_logs = False

    def _implements_train_batch_hooks(self) -> bool:
        return False

    _implements_test_batch_hooks = _implements_train_batch_hooks
    _implements_predict_batch_hooks = _implements_train_batch_hooks
