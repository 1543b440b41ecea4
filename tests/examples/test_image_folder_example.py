"""examples/image_folder.py"""

import keras
import numpy as np
import pytest


@pytest.fixture
def photos(tmp_path):
    """Twelve red and twelve blue images."""
    folder = tmp_path / "photos"
    for channel, colour in ((0, "red"), (2, "blue")):
        (folder / colour).mkdir(parents=True)
        for index in range(12):
            pixels = np.zeros((20, 20, 3))
            pixels[..., channel] = 100 + 10 * index
            keras.utils.save_img(folder / colour / f"{index}.png", pixels, scale=False)
    return folder


def test_it_writes_both_models_and_prints_what_runs(photos, example, is_tflite, tmp_path):
    flags = ("--out=out", "--epochs=2", "--qat_epochs=1", "--image_size=16")
    printed = example("image_folder.py", f"--data={photos}", *flags)
    assert is_tflite("out/model.tflite")
    assert (tmp_path / "out" / "labels.txt").read_text() == "blue\nred\n"
    assert keras.saving.load_model(tmp_path / "out" / "small.keras").output_shape == (None, 2)
    assert "accuracy" in printed.partition("MACs before")[2]


def test_it_refuses_an_empty_folder(refusal, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "at least two" in refusal("image_folder.py", "--data=photos", "--out=out")
    assert not (tmp_path / "out").exists()
