/* The tiny student's training, examination and sampling on a CPU: the same function as network.py, which is the reference.
 *
 * What differs is the order of the work. A batched program applies every operation to all students, and so streams all
 * of them through memory at every update. Here one student makes all its updates before the next one starts: its weights,
 * moments and activations stay in a core's cache, nothing depends on the other students, and threads share nothing.
 *
 * Sizes are given to the compiler: V tokens, PATCHES of PIXELS, T prompt, A answer, D width, H heads, F hidden, LAYERS, B
 * sequences a batch. D, F and 2 D / H are multiples of 16. Activations are rows (sequence, position). network.py explains the
 * mathematics.
 */
#include "layers.h"

typedef struct { float qkv[D * QKV], out[D * D], up[D * F], down[F * D]; } Block;

typedef struct { /* the reference's order, with the head's rows padded to whole vectors; also moments and gradient */
    float token[V * D], place[L * D], head[D * VP];
    Block block[LAYERS];
    float patch[PIXELS * D];
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
    float image[B * PATCHES * PIXELS], token_loss[B * A], loss[B], weight[B * A], soft[B * A * VP];
    int64_t token[B * L], target[B * A], likeliest[B * A];
    int right[B];
} Work; /* of `token`, the places of patches are not used */

/* --- forward -------------------------------------------------------------------------------------------------------- */

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

/* A batch's tokens and images -> y, the normalised residual stream of the answer positions. */
static void transform(Work *s) {
    for (int b = 0; b < B; b++)
        product(PATCHES, D, PIXELS, ROWS(s->image + b * PATCHES * PIXELS, PIXELS), s->w.patch, D, s->x + b * L * D, D, SET);
    for (int r = 0; r < B * L; r++) {
        const float *x = r % L < PATCHES ? s->x + r * D : s->w.token + s->token[r] * D;
        for (int i = 0; i < D; i++) s->x[r * D + i] = x[i] + s->w.place[r % L * D + i];
    }
    for (int layer = 0; layer < LAYERS - 1; layer++) forward_block(L, s, &s->w.block[layer], &s->kept[layer]);
    forward_block(A, s, &s->w.block[LAYERS - 1], &s->kept[LAYERS - 1]);
    normalise(B * A, s->x, s->y, s->y_scale);
}

/* A batch's losses, verdicts and probabilities (in `logits`). The targets are tokens, or the distributions `soft`. */
static void forward(Work *s, const float *soft) {
    transform(s);
    product(B * A, VP, D, ROWS(s->y, D), s->w.head, VP, s->logits, VP, SET);
    softmax(s->logits, s->target, soft, s->token_loss, s->likeliest);
    for (int b = 0; b < B; b++) s->loss[b] = total(A, s->token_loss + b * A) / A, s->right[b] = isfinite(s->loss[b]);
    for (int r = 0; r < B * A; r++) s->right[r / A] &= s->likeliest[r] == s->target[r];
}

/* A batch's likeliest tokens at answer position a alone, the first B of `likeliest`. */
static void forward_to(Work *s, int a) {
    float most;
    transform(s);
    product(B, VP, D, ROWS(s->y + a * D, A * D), s->w.head, VP, s->logits, VP, SET);
    for (int b = 0; b < B; b++) s->likeliest[b] = likeliest(s->logits + b * VP, &most);
}

/* Place l of m sequences, after all before it -> its residual stream, m rows of x; keeps keys and values. */
INLINE void read_place(const int m, Work *s, int l) {
    if (l < PATCHES)
        product(m, D, PIXELS, ((Matrix){s->image + l * PIXELS, PATCHES * PIXELS, 1}), s->w.patch, D, s->x, D, SET);
    for (int r = 0; r < m; r++) {
        const float *x = l < PATCHES ? s->x + r * D : s->w.token + s->token[r * L + l] * D;
        for (int i = 0; i < D; i++) s->x[r * D + i] = x[i] + s->w.place[l * D + i];
    }
    for (int layer = 0; layer < LAYERS; layer++) {
        const Block *w = &s->w.block[layer];
        Kept *k = &s->kept[layer];
        normalise(m, s->x, k->y, k->y_scale);
        product(m, D, D, ROWS(k->y, D), w->qkv, QKV, k->q, D, SET);
        product(m, KV, D, ROWS(k->y, D), w->qkv + D, QKV, s->d_kv, KV, SET);
        for (int b = 0; b < m; b++) {
            memcpy(k->kv + (b * L + l) * KV, s->d_kv + b * KV, FLOATS(KV));
            attend_last(l + 1, k->q + b * D, k->kv + b * L * KV, k->mixed + b * D);
        }
        product(m, D, D, ROWS(k->mixed, D), w->out, D, s->x, D, ADD);
        normalise(m, s->x, k->z, k->z_scale);
        product(m, F, D, ROWS(k->z, D), w->up, F, k->hidden, F, SET);
        for (int i = 0; i < m * F; i++) k->hidden[i] = k->hidden[i] > 0 ? k->hidden[i] : 0;
        product(m, D, F, ROWS(k->hidden, F), w->down, D, s->x, D, ADD);
    }
}

/* --- backward ------------------------------------------------------------------------------------------------------- */

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

/* After `forward`: the gradient of the sum of the batch's token losses, each times its `weight`. */
static void backward(Work *s, const float *soft) {
    for (int r = 0; r < B * A; r++) {
        if (!soft) s->logits[r * VP + s->target[r]] -= 1;
        else
            for (int i = 0; i < VP; i++) s->logits[r * VP + i] -= soft[r * VP + i];
        for (int i = 0; i < VP; i++) s->logits[r * VP + i] *= s->weight[r];
    }
    product(D, VP, B * A, TRANSPOSED(s->y, D), s->logits, VP, s->g.head, VP, SET);
    product(B * A, D, VP, ROWS(s->logits, VP), s->head_transposed, D, s->dz, D, SET);
    normalise_backward(B * A, s->dz, s->y, s->y_scale, s->dx, SET);
    backward_block(A, s, &s->transposed[LAYERS - 1], &s->kept[LAYERS - 1], &s->g.block[LAYERS - 1]);
    for (int i = LAYERS - 2; i >= 0; i--) backward_block(L, s, &s->transposed[i], &s->kept[i], &s->g.block[i]);
    memset(s->g.token, 0, sizeof s->g.token + sizeof s->g.place);
    for (int r = 0; r < B * L; r++) {
        for (int i = 0; i < D; i++) s->g.place[r % L * D + i] += s->dx[r * D + i];
        if (r % L >= PATCHES)
            for (int i = 0; i < D; i++) s->g.token[s->token[r] * D + i] += s->dx[r * D + i];
    }
    for (int b = 0; b < B && PATCHES; b++) memcpy(s->dz + b * PATCHES * D, s->dx + b * L * D, FLOATS(PATCHES * D));
    product(PIXELS, D, B * PATCHES, TRANSPOSED(s->image, PIXELS), s->dz, D, s->g.patch, D, SET);
}

typedef struct { float rate, beta1, beta2, epsilon, decay; } AdamW;

static void adamw(float *restrict w, float *restrict m, float *restrict v, const float *restrict g, AdamW o, float updates,
                  float share) {
    const float rate = o.rate * share, correction = sqrtf(1 - powf(o.beta2, updates));
    const float keep = 1 - rate * o.decay, step = rate * correction / (1 - powf(o.beta1, updates));
    const float small = o.epsilon * correction;
    for (int i = 0; i < WEIGHTS; i += W) {
        const vector gradient = *(const vector *)(g + i);
        const vector first = *(vector *)(m + i) += (1 - o.beta1) * (gradient - *(vector *)(m + i));
        const vector second = *(vector *)(v + i) += (1 - o.beta2) * (gradient * gradient - *(vector *)(v + i));
        *(vector *)(w + i) = *(vector *)(w + i) * keep - step * over_root(first, second, small);
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
    memcpy(w->block, row + (V + L) * D + D * V, sizeof w->block + sizeof w->patch);
}

static void pack(const Weights *w, float *row) {
    memcpy(row, w->token, sizeof w->token + sizeof w->place);
    for (int i = 0; i < D; i++) memcpy(row + (V + L) * D + i * V, w->head + i * VP, FLOATS(V));
    memcpy(row + (V + L) * D + D * V, w->block, sizeof w->block + sizeof w->patch);
}

typedef struct {
    const int64_t *prompts, *answers, *scene; /* rows of T and of A tokens; the image of every problem */
    const uint8_t *scenes;                    /* images, rows of PATCHES * PIXELS */
    float scale;                              /* of their pixels */
} Tables;

/* The b-th sequence of a batch: a problem, and the tokens of an answer to it. */
INLINE void read_item(Work *s, int b, const Tables *t, int64_t problem, const int64_t *letters) {
    memcpy(s->token + b * L + PATCHES, t->prompts + problem * T, T * sizeof *letters);
    memcpy(s->token + b * L + PATCHES + T, letters, (A - 1) * sizeof *letters);
    memcpy(s->target + b * A, letters, A * sizeof *letters);
    if (!PATCHES) return;
    const uint8_t *pixels = t->scenes + t->scene[problem] * PATCHES * PIXELS;
    for (int i = 0; i < PATCHES * PIXELS; i++) s->image[b * PATCHES * PIXELS + i] = pixels[i] * t->scale;
}

/* The next batch of a student's n items, filled up with its last item, which then does not count. */
static int read_batch(Work *s, const Tables *t, int64_t n, const int64_t *problem, const int64_t *answer) {
    for (int b = 0; b < B; b++) {
        const int64_t i = b < n ? b : n - 1;
        read_item(s, b, t, problem[i], t->answers + answer[i] * A);
    }
    return n < B ? n : B;
}

int64_t kdgym_workspace(void) { return sizeof(Work); }

/* Threads call these with one `next` (0 at first) and a workspace each, zero at first; `next` hands out students. A
 * row of `state` is [weights | first moments | second moments | number of updates], `part` floats each. */
#define EVERY_STUDENT int64_t i = 0; (i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < students;

/* `weight` (one an item) and `soft` (A rows of V an item) may be NULL: all items count alike, and the answers are the targets. */
void kdgym_train(Work *s, int64_t *next, int64_t students, float *state, int64_t stride, int64_t part, const Tables *tables,
                 const int64_t *problem, const int64_t *answer, const int64_t *count, int64_t room, const float *weight,
                 const float *soft, const AdamW *optimiser, float *losses) {
    const unsigned before = flush_denormals();
    for (EVERY_STUDENT) {
        float *row = state + i * stride, *updates = row + 3 * part;
        unpack(row, &s->w), unpack(row + part, &s->m), unpack(row + 2 * part, &s->v);
        for (int64_t begin = 0, at = i * room; begin < count[i]; begin += B, at += B) {
            const int n = read_batch(s, tables, count[i] - begin, problem + at, answer + at);
            for (int r = 0; soft && r < n * A; r++) memcpy(s->soft + r * VP, soft + (at * A + r) * V, FLOATS(V));
            transpose_weights(s);
            forward(s, soft ? s->soft : NULL);
            memcpy(losses + at, s->loss, FLOATS(n));
            for (int r = 0; r < B * A; r++) s->weight[r] = r < n * A ? 1.f / (A * n) : 0;
            for (int r = 0; weight && r < n * A; r++) s->weight[r] *= weight[at + r / A];
            backward(s, soft ? s->soft : NULL);
            *updates += 1;
            adamw((float *)&s->w, (float *)&s->m, (float *)&s->v, (float *)&s->g, *optimiser, *updates, (float)n / B);
        }
        pack(&s->w, row), pack(&s->m, row + part), pack(&s->v, row + 2 * part);
    }
    restore_denormals(before);
}

/* One pass over every solution: is it right, its loss, and the likeliest token at each of its A places. */
void kdgym_evaluate(Work *s, int64_t *next, int64_t students, const float *state, int64_t stride, const Tables *tables,
                    const int64_t *problem, const int64_t *solution, int64_t room, uint8_t *right, float *losses,
                    int64_t *tokens) {
    const unsigned before = flush_denormals();
    for (EVERY_STUDENT) {
        unpack(state + i * stride, &s->w);
        for (int64_t at = i * room; at < (i + 1) * room; at += B) {
            const int n = read_batch(s, tables, (i + 1) * room - at, problem + at, solution + at);
            forward(s, NULL);
            memcpy(losses + at, s->loss, FLOATS(n));
            for (int b = 0; b < n; b++) right[at + b] = s->right[b];
            for (int r = 0; r < n * A; r++) tokens[at * A + r] = s->likeliest[r] % V; /* V where all are NaN */
        }
    }
    restore_denormals(before);
}

/* Reads the problems of a batch, as long as few differ, once each: row b has that of row slot[b] <= b. */
static void read_problems(Work *s, const int *slot, int differ) {
    const int few = B / 4 ? B / 4 : 1;
    for (int l = 0; l <= L - A; l++)
        if (differ <= few) read_place(few, s, l);
        else read_place(B, s, l);
    for (int b = B - 1; b >= 0; b--) {
        for (int i = 0; i < LAYERS; i++)
            memmove(s->kept[i].kv + b * L * KV, s->kept[i].kv + slot[b] * L * KV, FLOATS((L - A + 1) * KV));
        memmove(s->x + b * D, s->x + slot[b] * D, FLOATS(D));
    }
}

/* Answers drawn by random numbers, A tokens and numbers an item, of which `tokens` holds the first `known`; and the
 * log-probabilities of all tokens. */
void kdgym_sample(Work *s, int64_t *next, int64_t students, const float *state, int64_t stride, const Tables *tables,
                  const int64_t *problem, const int64_t *known, int64_t room, const double *chance, int64_t *tokens,
                  float *log_p) {
    const unsigned before = flush_denormals();
    for (EVERY_STUDENT) {
        unpack(state + i * stride, &s->w);
        for (int64_t at = i * room; at < (i + 1) * room; at += B) {
            const int n = (i + 1) * room - at < B ? (i + 1) * room - at : B;
            int slot[B], differ = 0;
            for (int b = 0; b < B; b++) {
                const int again = b >= n || (b && problem[at + b] == problem[at + b - 1]);
                if (!again) read_item(s, differ, tables, problem[at + b], tokens + (at + b) * A);
                slot[b] = again ? slot[b - 1] : differ++;
            }
            read_problems(s, slot, differ);
            for (int a = 0; a < A; a++) {
                if (a) read_place(B, s, L - A + a);
                normalise(B, s->x, s->y, s->y_scale);
                product(B, VP, D, ROWS(s->y, D), s->w.head, VP, s->logits, VP, SET);
                for (int b = 0; b < n; b++) {
                    float p[VP], every[V];
                    const int64_t place = (at + b) * A + a;
                    log_softmax(s->logits + b * VP, p, every);
                    if (known[at + b] <= a) tokens[place] = draw(p, chance[place]);
                    log_p[place] = every[tokens[place]];
                    if (a < A - 1) s->token[b * L + L - A + a + 1] = tokens[place];
                }
            }
        }
    }
    restore_denormals(before);
}

/* The gradient of a function of those of given tokens, from its derivatives by each; items whose derivatives are 0 cost nothing. */
void kdgym_gradient(Work *s, int64_t *next, int64_t students, const float *state, int64_t stride, const Tables *tables,
                    const int64_t *problem, const int64_t *tokens, int64_t room, const float *slope, float *gradient,
                    int64_t part) {
    const unsigned before = flush_denormals();
    for (EVERY_STUDENT) {
        float *sum = (float *)&s->m, *g = (float *)&s->g;
        unpack(state + i * stride, &s->w);
        transpose_weights(s);
        memset(sum, 0, sizeof s->m);
        for (int64_t at = i * room, item[B]; at < (i + 1) * room;) {
            int n = 0;
            for (; at < (i + 1) * room && n < B; at++) {
                int matters = 0;
                for (int a = 0; a < A; a++) matters |= slope[at * A + a] != 0;
                if (matters) item[n++] = at;
            }
            if (!n) break;
            for (int b = 0; b < B; b++) {
                const int64_t chosen = item[b < n ? b : 0];
                read_item(s, b, tables, problem[chosen], tokens + chosen * A);
                for (int a = 0; a < A; a++) s->weight[b * A + a] = b < n ? -slope[chosen * A + a] : 0;
            }
            forward(s, NULL);
            backward(s, NULL);
            for (int j = 0; j < WEIGHTS; j++) sum[j] += g[j];
        }
        pack(&s->m, gradient + i * part);
    }
    restore_denormals(before);
}

/* Greedy answers, A tokens an item, of which `tokens` holds the first `known`: one token at a time of all items that lack it. */
void kdgym_decode(Work *s, int64_t *next, int64_t students, const float *state, int64_t stride, const Tables *tables,
                  const int64_t *problem, const int64_t *known, int64_t room, int64_t *tokens) {
    const unsigned before = flush_denormals();
    for (EVERY_STUDENT) {
        unpack(state + i * stride, &s->w);
        for (int a = 0; a < A; a++)
            for (int64_t at = i * room, item[B]; at < (i + 1) * room;) {
                int n = 0;
                for (; at < (i + 1) * room && n < B; at++)
                    if (known[at] <= a) item[n++] = at;
                for (int b = 0; b < B && n; b++) {
                    const int64_t chosen = item[b < n ? b : 0];
                    read_item(s, b, tables, problem[chosen], tokens + chosen * A);
                }
                if (n) forward_to(s, a);
                for (int b = 0; b < n; b++) tokens[item[b] * A + a] = s->likeliest[b] % V;
            }
    }
    restore_denormals(before);
}
