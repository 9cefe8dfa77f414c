"""Run the CUDA kernels on the CPU: g++ compiles their source against emulator.hpp, and ctypes calls it."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from torch import Tensor

from axial_deeplab.ops.cuda_compile import SOURCES
from axial_deeplab.ops.cuda_plan import Plan
from axial_deeplab.ops.triton_tiles import Geometry

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")


def launch_emulated(
    name: str,
    plan: Plan,
    grid: tuple[int, int, int],
    tensors: tuple[Tensor, ...],
    g: Geometry,
    margin: int,
    *lines: int,
) -> None:
    """Take the place of `cuda_launch._launch` for tensors on the CPU."""
    numbers = (g.num_lines, g.inner, g.length, g.reach, margin, *lines)
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in tensors]
    build(name, plan.constants).emulate(*grid, plan.threads, plan.shared_bytes, *pointers, *numbers)


@cache
def build(name: str, constants: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    """Compile a kernel with these constants."""
    assert COMPILER is not None
    target = Path(mkdtemp(prefix="axial-deeplab-")) / "kernel.so"
    options = [f"-D{key}={value}" for key, value in (*constants, ("EMULATED", 1), (name.upper(), 1))]
    command = [COMPILER, "-O1", "-std=c++17", "-shared", "-fPIC", "-w", f"-I{SOURCES}", f"-I{HERE}", *options]
    subprocess.run([*command, str(HERE / "kernels.cpp"), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))
