"""Pruning on several devices and in several processes gives what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mirrored_process.py")


def start(flavor, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), flavor],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def result(process):
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def require_same(found):
    assert found["replicas"] == 2
    assert found["pruned"] == 4
    assert found["same_mask"]
    assert found["masked_is_zero"]
    assert found["filters_left"] == 4
    assert found["replicas_are_equal"]
    assert found["difference"] < 1e-6


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_two_devices_of_tensorflow(library):
    found = result(start(library))
    assert found["local_replicas"] == 2
    require_same(found)


def test_two_processes_of_tf_keras():
    ports = [_free_port() for _ in range(2)]
    workers = []
    for index in range(2):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        workers.append(start("tf_keras", TF_CONFIG=json.dumps(task)))
    for worker in workers:
        require_same(result(worker))


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
