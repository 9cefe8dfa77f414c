"""The kernels compile for the GPUs that people own, within their shared memory, without having one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

SCRIPT = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, code_generator
from axial_deeplab.ops.triton_launch import list_kernels
from axial_deeplab.ops.triton_tiles import Geometry

capability, dtype, limit, key_dim = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
length, reach, terms = int(sys.argv[5]), int(sys.argv[6]), tuple(flag == "1" for flag in sys.argv[7])
geometry = Geometry(64, 64, length, reach, 8, key_dim, 2 * key_dim, terms)
structures = {}
mangle = code_generator.mangle_fn


def find_call(frame):
    while frame.f_code.co_name != "call_JitFunction":
        frame = frame.f_back
    return frame.f_locals["args"]


def watch(name, types, constants, context):
    # The name of a compiled function must tell apart calls whose tuples are cut differently.
    mangled = mangle(name, types, constants, context)
    structure = [len(x) if isinstance(x, triton.language.tuple) else 0 for x in find_call(sys._getframe(1))]
    assert structures.setdefault(mangled, structure) == structure, (name, structure, structures[mangled])
    return mangled


code_generator.mangle_fn = watch
for kernel, signature, constants, warps in list_kernels(geometry, dtype):
    structures.clear()
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    assert compiled.metadata.shared <= limit, (kernel.__name__, key_dim, compiled.metadata.shared)
print("compiled")
"""

SHARED_MEMORY = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 120: 99}  # KiB that one block can have


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("capability", "dtype", "key_dim", "length", "reach", "terms"),
    [
        (75, "fp16", 4, 65, 64, "111"),
        (80, "bf16", 4, 65, 32, "111"),  # a local span
        (86, "fp16", 8, 65, 64, "111"),
        (89, "bf16", 3, 65, 64, "101"),
        (90, "fp32", 4, 65, 64, "111"),
        (90, "bf16", 4, 56, 55, "111"),  # a length that every tile divides
        (90, "bf16", 8, 65, 64, "010"),
        (90, "bf16", 4, 65, 64, "000"),
        (120, "bf16", 16, 65, 64, "111"),
        (75, "fp16", 128, 65, 64, "111"),  # wide heads from here on
        (80, "bf16", 48, 65, 32, "111"),
        (86, "fp32", 128, 65, 64, "111"),
        (89, "fp16", 40, 65, 64, "101"),
        (90, "bf16", 128, 65, 64, "111"),
        (120, "fp32", 128, 65, 64, "111"),
    ],
)
def test_kernels_compile(
    capability: int, dtype: str, key_dim: int, length: int, reach: int, terms: str, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    limit = SHARED_MEMORY[capability] * 1024
    arguments = [str(x) for x in (capability, dtype, limit, key_dim, length, reach, terms)]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "compiled"
