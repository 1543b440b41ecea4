"""Reads every array of a `.keras` file's weights, in a process whose memory is limited.

HDF5 takes a damaged file for whatever it says: arrays of any size, or a way that never ends.
"""

import os
import sys
import zipfile

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread takes memory, on large machines all of it

import h5py

WEIGHTS = "model.weights.h5"
BESIDE = 2**31  # bytes that Python and its libraries take


def limit_memory(most: int) -> None:
    """Allows this process `most` bytes, or fewer where it was allowed fewer."""
    try:
        import resource
    except ImportError:  # Windows has none; there the limit of time alone holds
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def main(path: str) -> None:
    """Ends with an error unless all arrays are there."""
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(WEIGHTS).file_size
        limit_memory(BESIDE + 2 * size)

        def read(name: str, found: h5py.Dataset | h5py.Group) -> None:
            if isinstance(found, h5py.Dataset):
                if found.nbytes > size:
                    sys.exit(f"'{name}' has {found.nbytes:,} bytes, and the whole file {size:,}")
                found[()]

        with archive.open(WEIGHTS) as member, h5py.File(member, "r") as file:
            file.visititems(read)


if __name__ == "__main__":
    main(sys.argv[1])
