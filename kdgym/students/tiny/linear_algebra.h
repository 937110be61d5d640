/* Small matrix products of constant size, transposition and exp, written with the compiler's vector types.
 *
 * Sizes are constants where these functions are called, so each call is compiled for its own shape: the accumulators
 * stay in registers and loops over them disappear. W floats are one vector; reads may run up to W - 1 floats past a row.
 */
#include <math.h>
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#endif

#if defined(__AVX512F__)
#define W 16
#define ACCUMULATORS 24 /* vectors; the other registers hold a row of the right-hand side */
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define W 8
#define ACCUMULATORS 12
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define W 4
#define ACCUMULATORS 12
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#endif

typedef float vector __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t indices __attribute__((vector_size(4 * W)));
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (indices){__VA_ARGS__})
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define UP(n) (((n) + W - 1) / W * W) /* a row of n floats, in whole vectors */

typedef struct {
    const float *at;
    int row, column;
} Matrix; /* element (i, j) is at[i * row + j * column] */
#define ROWS(x, width) ((Matrix){x, width, 1})
#define TRANSPOSED(x, width) ((Matrix){x, 1, width})
enum { SET, ADD };

/* c[m, n * W] (+)= a[m, k] b[k, n * W], all of c in registers. */
INLINE void block(int m, int n, int k, Matrix a, const float *b, int b_row, float *c, int c_row, int add) {
    vector sum[16][4];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < n; j++) sum[i][j] = add ? *(vector *)(c + i * c_row + j * W) : (vector){0};
    for (int p = 0; p < k; p++) {
        vector right[4];
        UNROLL for (int j = 0; j < n; j++) right[j] = *(vector *)(b + p * b_row + j * W);
        UNROLL for (int i = 0; i < m; i++)
            UNROLL for (int j = 0; j < n; j++) sum[i][j] += a.at[i * a.row + p * a.column] * right[j];
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < n; j++) *(vector *)(c + i * c_row + j * W) = sum[i][j];
}

INLINE void panel(int m, int n, int k, Matrix a, const float *b, int b_row, float *c, int c_row, int add) {
    const int step = ACCUMULATORS / n < 16 ? ACCUMULATORS / n : 16, rest = m % step;
    for (int i = 0; i + step <= m; i += step, a.at += step * a.row, c += step * c_row)
        block(step, n, k, a, b, b_row, c, c_row, add);
    if (rest) block(rest, n, k, a, b, b_row, c, c_row, add);
}

/* c[m, n] (+)= a[m, k] b[k, n]; n is a multiple of W. */
INLINE void product(int m, int n, int k, Matrix a, const float *b, int b_row, float *c, int c_row, int add) {
    const int most = ACCUMULATORS / 6, rest = n / W % most;
    for (int j = 0; j + most <= n / W; j += most, b += most * W, c += most * W)
        panel(m, most, k, a, b, b_row, c, c_row, add);
    if (rest) panel(m, rest, k, a, b, b_row, c, c_row, add);
}

/* to[n, m] = from[m, n]^T; both multiples of W. Log2(W) perfect shuffles of its rows transpose a square. */
INLINE void transpose(int m, int n, const float *from, int from_row, float *to, int to_row) {
    for (int i = 0; i < m; i += W)
        for (int j = 0; j < n; j += W) {
            vector x[W], y[W];
            UNROLL for (int r = 0; r < W; r++) x[r] = *(vector *)(from + (i + r) * from_row + j);
            UNROLL for (int half = 1; half < W; half *= 2) {
                UNROLL for (int r = 0; r < W / 2; r++) {
                    y[2 * r] = SHUFFLE(x[r], x[r + W / 2], LOW_HALVES);
                    y[2 * r + 1] = SHUFFLE(x[r], x[r + W / 2], HIGH_HALVES);
                }
                UNROLL for (int r = 0; r < W; r++) x[r] = y[r];
            }
            UNROLL for (int r = 0; r < W; r++) *(vector *)(to + (j + r) * to_row + i) = x[r];
        }
}

INLINE float total(int n, const float *x) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* Of a multiple of W numbers. By halves, because the compiler may not reorder comparisons, which may meet a NaN. */
INLINE float maximum(int n, const float *x) {
    float most[W];
    for (int i = 0; i < W; i++) most[i] = x[i];
    for (int j = W; j < n; j += W)
        for (int i = 0; i < W; i++) most[i] = most[i] > x[i + j] ? most[i] : x[i + j];
    UNROLL for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) most[i] = most[i] > most[i + half] ? most[i] : most[i + half];
    return most[0];
}

INLINE float dot(int n, const float *x, const float *y) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* a / (sqrt(b) + c) for b >= 0 and c > 0, to rounding. */
INLINE vector over_root(vector a, vector b, float c) {
#if defined(__AVX512F__) /* four times as fast as to divide: estimates of 14 bits, and a Newton step each */
    const vector x = b + 1e-30f, r = (vector)_mm512_rsqrt14_ps((__m512)x), root = x * r * (1.5f - 0.5f * x * r * r) + c;
    const vector inverse = (vector)_mm512_rcp14_ps((__m512)root);
    return a * inverse * (2 - root * inverse);
#else
    vector result;
    UNROLL for (int i = 0; i < W; i++) result[i] = a[i] / (sqrtf(b[i]) + c);
    return result;
#endif
}

/* x = exp(x) for |x| <= 80: with x = k ln 2 + r, 2^k times the Taylor polynomial of exp(r), |r| <= ln(2) / 2. */
INLINE void exponential(int n, float *x) {
    for (int i = 0; i < n; i++) {
        float k = rintf(x[i] * 1.44269504f);
        float r = x[i] - k * 0.693359375f + k * 2.12194440e-4f; /* ln 2 in two parts, the first one exact */
        float y = 1 + r * (1 + r * (1 / 2.f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
        union {
            int32_t bits;
            float value;
        } power = {((int32_t)k + 127) << 23};
        x[i] = y * power.value;
    }
}

/* Sudden underflow, as old moments would otherwise decay into numbers a hundred times slower. Returns what to restore. */
static unsigned flush_denormals(void) {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_denormals(unsigned before) {
#if defined(__SSE__)
    _mm_setcsr(before);
#endif
}
