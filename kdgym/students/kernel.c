/* The tiny student's training and examination on a CPU: the same function as network.py, which is the reference.
 *
 * What differs is the order of the work. A batched program applies every operation to all students, and so streams all
 * of them through memory at every update. Here one student makes all its updates before the next one starts: its weights,
 * moments and activations stay in a core's cache, nothing depends on the other students, and threads share nothing.
 *
 * Sizes are given to the compiler: V tokens, T prompt, A answer, D width, H heads, F hidden, LAYERS, B sequences a batch.
 * D, F and 2 D / H are multiples of 16. Activations are rows (sequence, position). network.py explains the mathematics.
 */
#include "linear_algebra.h"

#include <string.h>

enum { L = T + A - 1, E = D / H, KV = 2 * E, QKV = D + KV, VP = UP(V), LP = UP(L), EP = UP(E + 1) };
#define FLOATS(n) (n) * sizeof(float)

typedef struct { float qkv[D * QKV], out[D * D], up[D * F], down[F * D]; } Block;

typedef struct { /* the reference's order, with the head's rows padded to whole vectors; also moments and gradient */
    float token[V * D], place[L * D], head[D * VP];
    Block block[LAYERS];
} Weights;
enum { WEIGHTS = sizeof(Weights) / sizeof(float) };

typedef struct { /* what a block's backward pass needs of its forward pass; rows of the last Q positions, or of all L */
    float y[B * L * D], y_scale[B * L], last[B * L * D], q[B * L * D + W], kv[B * L * KV + W], kv_t[B * KV * LP];
    float attention[B * L * H * LP], mixed[B * L * D], z[B * L * D], z_scale[B * L], hidden[B * L * F];
} Kept;

typedef struct {
    Weights w, m, v, g;
    Block transposed[LAYERS];
    float head_transposed[VP * D];
    Kept kept[LAYERS];
    float x[B * L * D], y[B * A * D], y_scale[B * A], logits[B * A * VP];
    float dx[B * L * D], dz[B * L * D], d_hidden[B * L * F], d_mixed[B * L * D + W], dq[B * L * D], d_kv[B * L * KV];
    float token_loss[B * A], loss[B];
    int64_t token[B * L], target[B * A];
    int likeliest[B * A], right[B];
} Work;

/* --- forward -------------------------------------------------------------------------------------------------------- */

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

/* The residual stream x: all L positions of every sequence -> the last Q, in place. */
INLINE void forward_block(const int Q, Work *s, const Block *w, Kept *k) {
    normalise(B * L, s->x, k->y, k->y_scale);
    product(B * L, KV, D, ROWS(k->y, D), w->qkv + D, QKV, k->kv, KV, SET);
    for (int b = 0; b < B; b++) {
        memcpy(k->last + b * Q * D, k->y + (b * L + L - Q) * D, FLOATS(Q * D));
        memmove(s->x + b * Q * D, s->x + (b * L + L - Q) * D, FLOATS(Q * D));
    }
    product(B * Q, D, D, ROWS(k->last, D), w->qkv, QKV, k->q, D, SET);
    for (int b = 0, rows = Q * H; b < B; b++)
        attend(Q, k->q + b * rows * E, k->kv + b * L * KV, k->kv_t + b * KV * LP, k->attention + b * rows * LP,
               k->mixed + b * rows * E);
    product(B * Q, D, D, ROWS(k->mixed, D), w->out, D, s->x, D, ADD);
    normalise(B * Q, s->x, k->z, k->z_scale);
    product(B * Q, F, D, ROWS(k->z, D), w->up, F, k->hidden, F, SET);
    for (int i = 0; i < B * Q * F; i++) k->hidden[i] = k->hidden[i] > 0 ? k->hidden[i] : 0;
    product(B * Q, D, F, ROWS(k->hidden, F), w->down, D, s->x, D, ADD);
}

/* Logits [B * A, VP] -> probabilities; losses in nats and verdicts of all answer tokens. */
INLINE void softmax(float *logits, const int64_t *target, float *loss, int *likeliest) {
    float sum[B * A], chosen[B * A];
    for (int r = 0; r < B * A; r++) {
        float *x = logits + r * VP, most = x[0], mine = x[target[r]];
        int ahead = 0;
        for (int i = 0; i < V; i++) most = x[i] > most ? x[i] : most;
        for (int i = 0; i < V; i++) ahead += (x[i] > mine) + (x[i] == mine && i < target[r]);
        for (int i = 0; i < V; i++) x[i] = x[i] - most < -80 ? -80 : x[i] - most;
        likeliest[r] = ahead == 0, chosen[r] = x[target[r]];
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

/* A batch's losses, verdicts and probabilities (in `logits`). */
static void forward(Work *s) {
    for (int r = 0; r < B * L; r++)
        for (int i = 0; i < D; i++) s->x[r * D + i] = s->w.token[s->token[r] * D + i] + s->w.place[r % L * D + i];
    for (int layer = 0; layer < LAYERS - 1; layer++) forward_block(L, s, &s->w.block[layer], &s->kept[layer]);
    forward_block(A, s, &s->w.block[LAYERS - 1], &s->kept[LAYERS - 1]);
    normalise(B * A, s->x, s->y, s->y_scale);
    product(B * A, VP, D, ROWS(s->y, D), s->w.head, VP, s->logits, VP, SET);
    softmax(s->logits, s->target, s->token_loss, s->likeliest);
    for (int b = 0; b < B; b++) s->loss[b] = total(A, s->token_loss + b * A) / A, s->right[b] = isfinite(s->loss[b]);
    for (int r = 0; r < B * A; r++) s->right[r / A] &= s->likeliest[r];
}

/* --- backward ------------------------------------------------------------------------------------------------------- */

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
    enum { EW = UP(E) };
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

/* dx: from the last Q positions of every sequence to all L, in place; t holds the block's matrices transposed. */
INLINE void backward_block(const int Q, Work *s, const Block *t, const Kept *k, Block *g) {
    product(F, D, B * Q, TRANSPOSED(k->hidden, F), s->dx, D, g->down, D, SET);
    product(B * Q, F, D, ROWS(s->dx, D), t->down, F, s->d_hidden, F, SET);
    for (int i = 0; i < B * Q * F; i++) s->d_hidden[i] = k->hidden[i] > 0 ? s->d_hidden[i] : 0;
    product(D, F, B * Q, TRANSPOSED(k->z, D), s->d_hidden, F, g->up, F, SET);
    product(B * Q, D, F, ROWS(s->d_hidden, F), t->up, D, s->dz, D, SET);
    normalise_backward(B * Q, s->dz, k->z, k->z_scale, s->dx, ADD);
    product(D, D, B * Q, TRANSPOSED(k->mixed, D), s->dx, D, g->out, D, SET);
    product(B * Q, D, D, ROWS(s->dx, D), t->out, D, s->d_mixed, D, SET);
    for (int b = 0, rows = Q * H; b < B; b++)
        attend_backward(Q, s->d_mixed + b * rows * E, k->mixed + b * rows * E, k->attention + b * rows * LP,
                        k->q + b * rows * E, k->kv + b * L * KV, k->kv_t + b * KV * LP, s->dq + b * rows * E,
                        s->d_kv + b * L * KV);
    product(D, D, B * Q, TRANSPOSED(k->last, D), s->dq, D, g->qkv, QKV, SET);
    product(D, KV, B * L, TRANSPOSED(k->y, D), s->d_kv, KV, g->qkv + D, QKV, SET);
    product(B * L, D, KV, ROWS(s->d_kv, KV), t->qkv + D * D, D, s->dz, D, SET);
    for (int b = B - 1; b >= 0; b--) { /* from the end, because rows move apart */
        const int first = b * L + L - Q;
        product(Q, D, D, ROWS(s->dq + b * Q * D, D), t->qkv, D, s->dz + first * D, D, ADD);
        memmove(s->dx + first * D, s->dx + b * Q * D, FLOATS(Q * D));
        memset(s->dx + b * L * D, 0, FLOATS((L - Q) * D));
    }
    normalise_backward(B * L, s->dz, k->y, k->y_scale, s->dx, ADD);
}

/* After `forward`: the gradient of the mean loss of the batch's first n sequences. */
static void backward(Work *s, int n) {
    for (int r = 0; r < B * A; r++) {
        s->logits[r * VP + s->target[r]] -= 1;
        for (int i = 0; i < VP; i++) s->logits[r * VP + i] *= r < n * A ? 1.f / (A * n) : 0;
    }
    product(D, VP, B * A, TRANSPOSED(s->y, D), s->logits, VP, s->g.head, VP, SET);
    product(B * A, D, VP, ROWS(s->logits, VP), s->head_transposed, D, s->dz, D, SET);
    normalise_backward(B * A, s->dz, s->y, s->y_scale, s->dx, SET);
    backward_block(A, s, &s->transposed[LAYERS - 1], &s->kept[LAYERS - 1], &s->g.block[LAYERS - 1]);
    for (int i = LAYERS - 2; i >= 0; i--) backward_block(L, s, &s->transposed[i], &s->kept[i], &s->g.block[i]);
    memset(s->g.token, 0, sizeof s->g.token + sizeof s->g.place);
    for (int r = 0; r < B * L; r++)
        for (int i = 0; i < D; i++) {
            s->g.token[s->token[r] * D + i] += s->dx[r * D + i];
            s->g.place[r % L * D + i] += s->dx[r * D + i];
        }
}

typedef struct { float rate, beta1, beta2, epsilon, decay; } AdamW;

static void adamw(float *restrict w, float *restrict m, float *restrict v, const float *restrict g, AdamW o, float updates,
                  float share) {
    const float rate = o.rate * share, correction = sqrtf(1 - powf(o.beta2, updates));
    const float keep = 1 - rate * o.decay, step = rate * correction / (1 - powf(o.beta1, updates));
    const float small = o.epsilon * correction;
    for (int i = 0; i < WEIGHTS; i++) {
        m[i] += (1 - o.beta1) * (g[i] - m[i]);
        v[i] += (1 - o.beta2) * (g[i] * g[i] - v[i]);
        w[i] = w[i] * keep - step * m[i] / (sqrtf(v[i]) + small);
    }
}

static void transpose_weights(Work *s) {
    for (int i = 0; i < LAYERS; i++) {
        const Block *w = &s->w.block[i];
        Block *t = &s->transposed[i];
        transpose(D, QKV, w->qkv, QKV, t->qkv, D);
        transpose(D, D, w->out, D, t->out, D);
        transpose(D, F, w->up, F, t->up, D);
        transpose(F, D, w->down, D, t->down, F);
    }
    transpose(D, VP, s->w.head, VP, s->head_transposed, D);
}

/* --- the interface -------------------------------------------------------------------------------------------------- */

static void unpack(const float *row, Weights *w) {
    memcpy(w->token, row, sizeof w->token + sizeof w->place);
    memset(w->head, 0, sizeof w->head);
    for (int i = 0; i < D; i++) memcpy(w->head + i * VP, row + (V + L) * D + i * V, FLOATS(V));
    memcpy(w->block, row + (V + L) * D + D * V, sizeof w->block);
}

static void pack(const Weights *w, float *row) {
    memcpy(row, w->token, sizeof w->token + sizeof w->place);
    for (int i = 0; i < D; i++) memcpy(row + (V + L) * D + i * V, w->head + i * VP, FLOATS(V));
    memcpy(row + (V + L) * D + D * V, w->block, sizeof w->block);
}

static void read_batch(Work *s, const int64_t *problem, const int64_t *answer, int n, const int64_t *prompts,
                       const int64_t *answers) {
    for (int b = 0; b < B; b++) { /* filler learns nothing: any tokens will do */
        const int64_t *prompt = prompts + (b < n ? problem[b] : 0) * T, *letters = answers + (b < n ? answer[b] : 0) * A;
        memcpy(s->token + b * L, prompt, T * sizeof *prompt);
        memcpy(s->token + b * L + T, letters, (A - 1) * sizeof *letters);
        memcpy(s->target + b * A, letters, A * sizeof *letters);
    }
}

int64_t kdgym_workspace(void) { return sizeof(Work); }

/* Threads call this with one `next` (0 at first) and a workspace each, zero at first; `next` hands out students. A
 * row of `state` is [weights | first moments | second moments | number of updates], `part` floats each. */
void kdgym_train(Work *s, int64_t *next, int64_t students, float *state, int64_t stride, int64_t part,
                 const int64_t *prompts, const int64_t *answers, const int64_t *problem, const int64_t *answer,
                 const int64_t *count, int64_t room, const AdamW *optimiser, float *losses) {
    const unsigned before = flush_denormals();
    for (int64_t i; (i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < students;) {
        float *row = state + i * stride, *updates = row + 3 * part;
        unpack(row, &s->w), unpack(row + part, &s->m), unpack(row + 2 * part, &s->v);
        for (int64_t begin = 0; begin < count[i]; begin += B) {
            const int n = count[i] - begin < B ? count[i] - begin : B;
            read_batch(s, problem + i * room + begin, answer + i * room + begin, n, prompts, answers);
            transpose_weights(s);
            forward(s);
            memcpy(losses + i * room + begin, s->loss, FLOATS(n));
            backward(s, n);
            *updates += 1;
            adamw((float *)&s->w, (float *)&s->m, (float *)&s->v, (float *)&s->g, *optimiser, *updates, (float)n / B);
        }
        pack(&s->w, row), pack(&s->m, row + part), pack(&s->v, row + 2 * part);
    }
    restore_denormals(before);
}

void kdgym_evaluate(Work *s, int64_t *next, int64_t students, const float *state, int64_t stride, const int64_t *prompts,
                    const int64_t *answers, const int64_t *problem, const int64_t *solution, int64_t room, uint8_t *right,
                    float *losses) {
    const unsigned before = flush_denormals();
    for (int64_t i; (i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < students;) {
        unpack(state + i * stride, &s->w);
        for (int64_t begin = i * room; begin < (i + 1) * room; begin += B) {
            const int n = (i + 1) * room - begin < B ? (i + 1) * room - begin : B;
            read_batch(s, problem + begin, solution + begin, n, prompts, answers);
            forward(s);
            memcpy(losses + begin, s->loss, FLOATS(n));
            for (int b = 0; b < n; b++) right[begin + b] = s->right[b];
        }
    }
    restore_denormals(before);
}
