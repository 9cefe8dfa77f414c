// A kernel for the emulator, for one set of constants (see tile.cuh and the kernels), with an entry that the tests call.
#ifdef BACKWARD
#include "backward.cu"

extern "C" void emulate(int slots, int blocks, int head_blocks, int threads, int shared_bytes, const bf16* qkv, const float* rows,
                        const float* scales, const float* affine, const bf16* retrieved, const float* lse,
                        const bf16* grad_retrieved, bf16* grad_qkv, bf16* query_shares, float* row_shares, float* scale_shares,
                        int num_lines, int inner, int length, int reach, int first_row, int first_line, int end_line) {
  emulator::launch(attention_backward, {slots, blocks, head_blocks}, threads, shared_bytes, qkv, rows, scales, affine, retrieved,
                   lse, grad_retrieved, grad_qkv, query_shares, row_shares, scale_shares, num_lines, inner, length, reach,
                   first_row, first_line, end_line);
}
#else
#include "forward.cu"

extern "C" void emulate(int slots, int blocks, int head_blocks, int threads, int shared_bytes, const bf16* qkv, const float* rows,
                        const float* scales, const float* affine, const float* merge, bf16* retrieved, float* lse, int num_lines,
                        int inner, int length, int reach, int first_row) {
  emulator::launch(attention_forward, {slots, blocks, head_blocks}, threads, shared_bytes, qkv, rows, scales, affine, merge,
                   retrieved, lse, num_lines, inner, length, reach, first_row);
}
#endif
