// The noise of export/runtime/noise.py on a GPU: the same bits. What it is, is written there.
//
// noise.py beside this file compiles it for the GPU. A C++ compiler that is told what __global__, blockIdx and
// __umul64hi are reads it too: that is how it is tested where there is no GPU.

typedef unsigned long long Word;

// One block of Philox4x64-10 at the counter (count, 0, 0, 0).
__device__ inline void philox(Word count, Word key0, Word key1, Word* out) {
    Word c0 = count, c1 = 0, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; ++round) {
        const Word m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        const Word high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        const Word high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

// Row r of out, float[rows][count], becomes normal(seeds[r], steps[r]); a seed of 2**63 or more leaves its row alone.
// table: the 65,536 quantiles. A thread makes 16 normals: x over the blocks of a row, y over the rows.
extern "C" __global__ void normal_rows(const Word* seeds, const Word* steps, const float* table, float* out,
                                       Word count, unsigned int rows) {
    const Word block = (Word)blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned int row = blockIdx.y;
    const Word first = 16 * block;
    if (row >= rows || first >= count || seeds[row] >> 63) {
        return;
    }
    Word words[4];
    philox(block + 1, seeds[row], steps[row], words);
    float* to = out + row * count + first;
    const int here = count - first < 16 ? (int)(count - first) : 16;
    for (int i = 0; i < here; ++i) {
        to[i] = table[words[i / 4] >> (16 * (i % 4)) & 0xFFFF];
    }
}
