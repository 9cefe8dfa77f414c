"""Compile the CUDA kernels when they are first wanted, with NVIDIA's run-time compiler through its Python binding.

Nothing is compiled when the package is installed, and nothing but a driver and `cuda-bindings`, which PyTorch's builds for
CUDA bring along, is needed when it is.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "cuda"


class CompileError(RuntimeError):
    """A kernel could not be compiled or loaded; says which, and what the compiler or the driver answered."""


def compile_kernel(name: str, constants: tuple[tuple[str, int], ...], capability: tuple[int, int]) -> bytes:
    """Return the machine code of `cuda/<name>.cu` for a GPU of that capability.

    Args:
        name: "forward" or "backward".
        constants: What the source leaves open, as (name, value).
        capability: Major and minor number of the GPU's architecture.

    Raises:
        CompileError: If the source does not compile; with the compiler's log.
    """
    from cuda.bindings import nvrtc

    source = (SOURCES / f"{name}.cu").read_bytes()
    options = [
        f"--gpu-architecture=sm_{capability[0]}{capability[1]}",
        f"--include-path={SOURCES}",
        "--std=c++17",
        "--device-as-default-execution-space",
        *(f"-D{key}={value}" for key, value in constants),
    ]
    status, program = nvrtc.nvrtcCreateProgram(source, f"{name}.cu".encode(), 0, [], [])
    _check_nvrtc(status)
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            _, size = nvrtc.nvrtcGetProgramLogSize(program)
            log = b" " * size
            nvrtc.nvrtcGetProgramLog(program, log)
            raise CompileError(f"{name}.cu does not compile for {options[0]}: {log.decode(errors='replace').strip()}")
        status, size = nvrtc.nvrtcGetCUBINSize(program)
        _check_nvrtc(status)
        code = b" " * size
        _check_nvrtc(*nvrtc.nvrtcGetCUBIN(program, code))
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)


@lru_cache(maxsize=256)
def load_kernel(name: str, constants: tuple[tuple[str, int], ...], device: int, shared_bytes: int) -> Any:
    """Return the handle of `attention_<name>`, compiled for a device and allowed that much shared memory.

    Raises:
        CompileError: If it cannot be compiled or does not fit the device.
    """
    import torch
    from cuda.bindings import driver

    code = compile_kernel(name, constants, torch.cuda.get_device_capability(device))
    status, library = driver.cuLibraryLoadData(code, [], [], 0, [], [], 0)
    _check_driver(status, "load")
    status, kernel = driver.cuLibraryGetKernel(library, f"attention_{name}".encode())
    _check_driver(status, "find")
    status, function = driver.cuKernelGetFunction(kernel)
    _check_driver(status, "find")
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _check_driver(driver.cuFuncSetAttribute(function, attribute, shared_bytes)[0], f"give {shared_bytes} bytes to")
    return function


def launch_kernel(
    function: Any, grid: tuple[int, int, int], threads: int, shared_bytes: int, stream: int, values: tuple, types: tuple
) -> None:
    """Start a kernel; `types` are those of ctypes.

    Raises:
        CompileError: If the driver refuses.
    """
    from cuda.bindings import driver

    (status,) = driver.cuLaunchKernel(function, *grid, threads, 1, 1, shared_bytes, stream, (values, types), 0)
    _check_driver(status, "launch")


def _check_nvrtc(status: Any) -> None:
    if status.value:
        raise CompileError(f"NVRTC: {status.name}")


def _check_driver(status: Any, verb: str) -> None:
    if status.value:
        raise CompileError(f"the driver cannot {verb} an attention kernel: {status.name}")
