"""PyTorch of a rigdeploy twin (simulated): it holds nothing of PyTorch's, and has only what a smoke test calls.

The build is told by the wheel's version (``2.9.1+cu128``), as the real one's. Cards come from the twin's simulated
libcuda: matrices really travel to the card's memory and back, but the processor multiplies them. Of a card's name and
compute capability the twin's nvidia-smi tells.
"""

from __future__ import annotations

import ctypes
import random
import struct
import subprocess
import warnings
from importlib.metadata import version as _installed
from types import SimpleNamespace
from typing import Any, NoReturn

__version__ = _installed("torch")
_LOCAL = __version__.partition("+")[2]
_CUDA = f"{_LOCAL[2:4]}.{_LOCAL[4:]}" if _LOCAL.startswith("cu") else None
_OLD = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
_NEW = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
_NO_DEVICE = 100
_WORDS = {2: "out of memory", 100: "no CUDA-capable device is detected", 802: "system not yet initialized"}

float32 = "float32"
version = SimpleNamespace(cuda=_CUDA)


def _fail(code: int) -> NoReturn:
    words = _WORDS.get(code, "unspecified launch failure")
    raise RuntimeError(f"CUDA error: {words} (simulated, Error {code})")


class _Driver:
    """The twin's libcuda."""

    def __init__(self) -> None:
        try:
            self.library: Any = ctypes.CDLL("libcuda.so.1")
        except OSError:
            self.library = None

    def call(self, name: str, *arguments: Any) -> None:
        code = _NO_DEVICE if self.library is None else int(getattr(self.library, name)(*arguments))
        if code:
            _fail(code)

    def count(self) -> int:
        number = ctypes.c_int()
        self.call("cuInit", 0)
        self.call("cuDeviceGetCount", ctypes.byref(number))
        return number.value

    def there_and_back(self, index: int, data: bytes) -> bytes:
        """Bytes as they come back from a card's memory."""
        self.count()
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        pointer, size = ctypes.c_uint64(), ctypes.c_size_t(len(data))
        back = ctypes.create_string_buffer(len(data))
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuStreamCreate", ctypes.byref(stream), 0)
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        self.call("cuMemcpyHtoDAsync_v2", pointer, data, size, stream)
        self.call("cuMemcpyDtoHAsync_v2", back, pointer, size, stream)
        self.call("cuStreamSynchronize", stream)
        self.call("cuMemFree_v2", pointer)
        return back.raw


_driver = _Driver()


def _ask(*fields: str) -> list[list[str]]:
    argv = ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [line.split(", ") for line in done.stdout.splitlines()] if done.returncode == 0 else []


def _init() -> None:
    if _CUDA is None:
        raise AssertionError("Torch not compiled with CUDA enabled")
    branches = [int(row[0].partition(".")[0]) for row in _ask("driver_version")]
    if branches and branches[0] < (580 if _CUDA.startswith("13") else 525):
        raise RuntimeError("The NVIDIA driver on your system is too old (simulated)")
    if _driver.count() == 0:
        _fail(_NO_DEVICE)


def _is_available() -> bool:
    try:
        _init()
    except (AssertionError, RuntimeError) as error:
        warnings.warn(f"CUDA initialization: {error}", stacklevel=2)
        return False
    return True


def _capability(index: int) -> tuple[int, int]:
    major, _, minor = _ask("compute_cap")[index][0].partition(".")
    return int(major), int(minor)


def _built_for() -> list[str]:
    number = (0, 0) if _CUDA is None else tuple(int(part) for part in _CUDA.split("."))
    return _NEW if number >= (12, 8) else _OLD


def _launch(index: int) -> None:
    """A card runs the code of its own generation, up to its own step in it."""
    major, minor = _capability(index)
    steps = [divmod(int(name[3:]), 10) for name in _built_for()]
    if not any(major == built and step <= minor for built, step in steps):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device (simulated)")


cuda = SimpleNamespace(
    init=_init,
    is_available=_is_available,
    device_count=lambda: _driver.count() if _is_available() else 0,
    get_device_name=lambda index: _ask("name")[index][0],
    get_device_capability=_capability,
    get_arch_list=_built_for,
)


class Tensor:
    """A square matrix of float32, somewhere."""

    def __init__(self, rows: list[list[float]], card: int | None = None) -> None:
        self.rows, self.card = rows, card

    def to(self, where: str) -> Tensor:
        """The matrix on a card (``cuda:0``); as float32 it already is."""
        if not where.startswith("cuda:"):
            return self
        index, size = int(where.partition(":")[2]), len(self.rows)
        _launch(index)
        data = struct.pack(f"{size * size}f", *(value for row in self.rows for value in row))
        back = struct.unpack(f"{size * size}f", _driver.there_and_back(index, data))
        return Tensor([list(back[at : at + size]) for at in range(0, size * size, size)], index)

    def cpu(self) -> Tensor:
        """The matrix in the host's memory."""
        return Tensor(self.rows)

    def __matmul__(self, other: Tensor) -> Tensor:
        columns = list(zip(*other.rows))  # noqa: B905 - Python 3.9 knows no strict
        rows = [[sum(map(float.__mul__, row, column)) for column in columns] for row in self.rows]
        return Tensor(rows, self.card)


def randint(low: int, high: int, shape: tuple[int, int]) -> Tensor:
    """Random integers from low to below high."""
    return Tensor([[float(random.randrange(low, high)) for _ in range(shape[1])] for _ in range(shape[0])])  # noqa: S311


def equal(first: Tensor, second: Tensor) -> bool:
    """Whether two matrices are the same."""
    return first.rows == second.rows
