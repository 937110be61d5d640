/* The layers of the tiny student that are not just matrix products: norm, attention, softmax; forward and backward.
 *
 * Sizes as in kernel.c. EP and EW are a head's width in whole vectors, with and without room for one number more.
 */
#include "linear_algebra.h"

#include <string.h>

enum { L = PATCHES + T + A - 1, E = D / H, KV = 2 * E, QKV = D + KV };
enum { VP = UP(V), LP = UP(L), EP = UP(E + 1), EW = UP(E) };
#define FLOATS(n) (n) * sizeof(float)

INLINE void normalise(int rows, const float *x, float *y, float *scale) {
    for (int r = 0; r < rows; r++) scale[r] = dot(D, x + r * D, x + r * D);
    for (int r = 0; r < rows; r++) scale[r] = 1 / sqrtf(scale[r] / D + 1e-6f);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < D; i++) y[r * D + i] = x[r * D + i] * scale[r];
}

/* Attention of one sequence: q [Q * H, E], kv [L, 2E] -> attention [Q * H, LP], mixed [Q * H, E]. */
INLINE void attend(const int Q, const float *q, const float *kv, float *kv_t, float *attention, float *mixed) {
    float padded[LP * KV], value[L * EP], sum[Q * H * EP];
    memset(padded + L * KV, 0, FLOATS((LP - L) * KV));
    memcpy(padded, kv, FLOATS(L * KV));
    transpose(LP, KV, padded, KV, kv_t, LP);
    memset(value, 0, sizeof value);
    for (int l = 0; l < L; l++) {
        for (int e = 0; e < E; e++) value[l * EP + e] = kv[l * KV + E + e];
        value[l * EP + E] = 1; /* the product with the values then sums the weights as well */
    }
    product(Q * H, LP, E, ROWS(q, E), kv_t, LP, attention, LP, SET);
    for (int i = 0; i < Q * H * LP; i++) {
        float score = attention[i] * (1 / sqrtf(E));
        attention[i] = score > 60 ? 60 : score < -60 ? -60 : score; /* far from overflow: no maximum is subtracted */
    }
    exponential(Q * H * LP, attention);
    for (int i = 0; i < Q * H; i++)
        for (int l = 0; l < LP; l++) attention[i * LP + l] = l <= L - Q + i / H ? attention[i * LP + l] : 0;
    product(Q * H, EP, L, ROWS(attention, LP), value, EP, sum, EP, SET);
    for (int i = 0; i < Q * H; i++) {
        float share = 1 / sum[i * EP + E];
        for (int e = 0; e < E; e++) mixed[i * E + e] = sum[i * EP + e] * share;
        for (int l = 0; l < LP; l++) attention[i * LP + l] *= share;
    }
}

/* Attention of a sequence's last token to all n so far: q [H, E], kv [n, 2E] -> mixed [H, E]. */
INLINE void attend_last(int n, const float *q, const float *kv, float *mixed) {
    float weight[H * LP] = {0};
    for (int h = 0; h < H; h++)
        for (int l = 0; l < n; l++) {
            const float score = dot(E, q + h * E, kv + l * KV) * (1 / sqrtf(E));
            weight[h * LP + l] = score > 60 ? 60 : score < -60 ? -60 : score;
        }
    exponential(H * LP, weight);
    for (int h = 0; h < H; h++) {
        const float share = 1 / total(n, weight + h * LP);
        float sum[E] = {0};
        for (int l = 0; l < n; l++)
            for (int e = 0; e < E; e++) sum[e] += weight[h * LP + l] * kv[l * KV + E + e];
        for (int e = 0; e < E; e++) mixed[h * E + e] = sum[e] * share;
    }
}

/* dx (+)= the gradient of the norms' inputs, from that of their outputs y. */
INLINE void normalise_backward(int rows, const float *g, const float *y, const float *scale, float *dx, int add) {
    for (int r = 0; r < rows; r++, g += D, y += D, dx += D) {
        float mean = dot(D, g, y) / D;
        for (int i = 0; i < D; i++) dx[i] = (add ? dx[i] : 0) + (g[i] - y[i] * mean) * scale[r];
    }
}

/* One sequence: from d_mixed [Q * H, E] to dq [Q * H, E] and d_kv [L, 2E]. */
INLINE void attend_backward(const int Q, const float *d_mixed, const float *mixed, const float *attention, const float *q,
                            const float *kv, const float *kv_t, float *dq, float *d_kv) {
    float d_score[Q * H * LP], wide_q[Q * H * EW], wide_k[L * EW], wide_v[L * EW];
    product(Q * H, LP, E, ROWS(d_mixed, E), kv_t + E * LP, LP, d_score, LP, SET);
    for (int i = 0; i < Q * H; i++) {
        float mean = dot(E, d_mixed + i * E, mixed + i * E); /* = sum of attention * its gradient */
        for (int l = 0; l < LP; l++)
            d_score[i * LP + l] = (d_score[i * LP + l] - mean) * attention[i * LP + l] * (1 / sqrtf(E));
    }
    product(Q * H, EW, L, ROWS(d_score, LP), kv, KV, wide_q, EW, SET);
    product(L, EW, Q * H, TRANSPOSED(d_score, LP), q, E, wide_k, EW, SET);
    product(L, EW, Q * H, TRANSPOSED(attention, LP), d_mixed, E, wide_v, EW, SET);
    for (int i = 0; i < Q * H; i++)
        for (int e = 0; e < E; e++) dq[i * E + e] = wide_q[i * EW + e];
    for (int l = 0; l < L; l++)
        for (int e = 0; e < E; e++) d_kv[l * KV + e] = wide_k[l * EW + e], d_kv[l * KV + E + e] = wide_v[l * EW + e];
}

/* The place of the largest of V logits [VP], the first of several; V if none is a number, as NaN is nobody's maximum. */
INLINE int likeliest(float *x, float *most) {
    for (int i = V; i < VP; i++) x[i] = -1e30f;
    *most = maximum(VP, x);
    int place[VP], first = V;
    for (int i = 0; i < VP; i++) place[i] = x[i] == *most ? i : V;
    for (int i = 0; i < VP; i++) first = place[i] < first ? place[i] : first;
    return first;
}

/* Logits [VP] -> probabilities [VP], and their logarithms [V], which have no floor. */
INLINE void log_softmax(const float *x, float *p, float *log_p) {
    float most = x[0];
    for (int i = 1; i < V; i++) most = x[i] > most ? x[i] : most;
    for (int i = 0; i < VP; i++) p[i] = i >= V || x[i] - most < -80 ? -80 : x[i] - most;
    exponential(VP, p);
    const float sum = total(V, p), all = most + logf(sum);
    for (int i = 0; i < V; i++) log_p[i] = x[i] - all, p[i] /= sum;
}

/* The token that a random number in [0, 1) stands for; token 0 where the probabilities are no numbers. */
INLINE int draw(const float *p, double chance) {
    float below = 0;
    int token = 0;
    for (int i = 0; i < V; i++) below += p[i], token += below <= chance;
    return token < V ? token : V - 1;
}

/* Logits [B * A, VP] -> probabilities; losses in nats, and the likeliest token, of all answer tokens. The targets are tokens,
 * or distributions `soft` [B * A, VP]. */
INLINE void softmax(float *logits, const int64_t *target, const float *soft, float *loss, int64_t *token) {
    float sum[B * A], chosen[B * A], most;
    for (int r = 0; r < B * A; r++) {
        float *x = logits + r * VP;
        token[r] = likeliest(x, &most);
        for (int i = 0; i < VP; i++) x[i] = x[i] - most < -80 ? -80 : x[i] - most;
        chosen[r] = soft ? dot(VP, soft + r * VP, x) : x[target[r]];
    }
    exponential(B * A * VP, logits);
    for (int r = 0; r < B * A; r++) {
        for (int i = V; i < VP; i++) logits[r * VP + i] = 0;
        sum[r] = total(VP, logits + r * VP);
    }
    for (int r = 0; r < B * A; r++) loss[r] = logf(sum[r]) - chosen[r], sum[r] = 1 / sum[r];
    for (int r = 0; r < B * A; r++)
        for (int i = 0; i < VP; i++) logits[r * VP + i] *= sum[r];
}
