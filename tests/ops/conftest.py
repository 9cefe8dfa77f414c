"""Where the kernels run: on a GPU, or in Triton's interpreter (which the conftest above switches on)."""

from collections.abc import Iterator

import pytest
import torch

from tests.ops import emulator

HOPPER_SHARED = 227 * 1024
"""int: Bytes of shared memory that a block may have on an H100 or H200."""


def patch_interpreter() -> None:
    """Let Triton's interpreter run with this NumPy."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor
    if not hasattr(original, "patched"):

        def patch(tensor, scope) -> None:
            original(tensor, scope)
            # The interpreter keeps scalars in arrays of one element, which numpy no longer turns into the bounds of a range.
            scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

        patch.patched = True
        interpreter._patch_lang_tensor = patch


@pytest.fixture
def device() -> str:
    """Return where the kernels run: a GPU if there is one, else the interpreter on the CPU, or skip."""
    if torch.cuda.is_available():
        return "cuda"
    pytest.importorskip("triton.runtime.interpreter", reason="triton is not installed")
    patch_interpreter()
    return "cpu"


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what is allocated without a value with NaN: reading what nobody wrote then shows."""

    def poison(allocate):
        def allocate_nan(*args, **options):
            tensor = allocate(*args, **options)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return allocate_nan

    monkeypatch.setattr(torch, "empty", poison(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poison(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poison(torch.Tensor.new_empty))


@pytest.fixture
def kernels(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the operator run the CUDA kernels, in the emulator where there is no GPU; the backend to ask for."""
    if device != "cpu":
        if torch.cuda.get_device_capability() < (8, 0):
            pytest.skip("this GPU has no bfloat16 arithmetic")
        yield "cuda"
        return
    if emulator.COMPILER is None:
        pytest.skip("there is neither a GPU nor g++")
    from axial_deeplab.ops import cuda_launch, run_kernels

    monkeypatch.setattr(run_kernels, "uses_cuda", lambda *_, **__: True)
    monkeypatch.setattr(cuda_launch, "get_shared_limit", lambda _: HOPPER_SHARED)
    monkeypatch.setattr(cuda_launch, "count_processors", lambda _: 132)
    monkeypatch.setattr(cuda_launch, "_count_slots", lambda items, *_: min(items, 2))
    monkeypatch.setattr(cuda_launch, "_launch", emulator.launch_emulated)
    yield "triton"
