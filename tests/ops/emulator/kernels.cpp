// A kernel for the emulator, for one set of constants (see tile.cuh and the kernels), with an entry that the tests call.
#ifdef BACKWARD
#include "backward.cu"

extern "C" void emulate(const bf16* qkv, const float* rows, const float* scales, const bf16* retrieved, const float* lse,
                        const bf16* grad_retrieved, bf16* grad_qkv, float* query_shares, float* row_shares, float* scale_shares,
                        int num_lines, int inner, int length, int reach, int first_row, int slots) {
  emulator::launch(attention_backward, {slots, (length + BLOCK_KEYS - 1) / BLOCK_KEYS, HEAD_BLOCKS}, THREADS, qkv, rows, scales,
                   retrieved, lse, grad_retrieved, grad_qkv, query_shares, row_shares, scale_shares, num_lines, inner, length, reach,
                   first_row);
}
#else
#include "forward.cu"

extern "C" void emulate(const bf16* qkv, const float* rows, const float* scales, bf16* retrieved, float* lse, int num_lines,
                        int inner, int length, int reach, int first_row, int slots) {
  emulator::launch(attention_forward, {slots, (length + GROUPS * TILE - 1) / (GROUPS * TILE), 1}, THREADS, qkv, rows, scales,
                   retrieved, lse, num_lines, inner, length, reach, first_row);
}
#endif
