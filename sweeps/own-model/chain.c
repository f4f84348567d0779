/* A chain of groups of cells, each of which excites the next group. A volley of spikes enters the first group.

   cc -std=c99 -O2 -ffp-contract=off -o chain chain.c

   -ffp-contract=off: without fused operations, the results are the same on every machine. */

#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLLEY_AT = 20 }; /* ms */

/* Random numbers: SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t state;

static double uniform(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

/* Returns noise of mean 0 and variance 1. In the sum over a time constant, its distribution is nearly normal. */
static double noise(void) {
    return 2 * (uniform() + uniform() + uniform() - 1.5);
}

/* Returns the number behind "key": in a request. This is all the JSON that the program needs to read. */
static double number(const char *request, const char *key) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(request, quoted);
    if (!at) {
        fprintf(stderr, "the request has no number %s\n", key);
        exit(1);
    }
    return strtod(at + strlen(quoted), NULL);
}

static void *room(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "no memory for %zu elements\n", count);
        exit(1);
    }
    return memory;
}

/* Returns the square root without the mathematical library, whose last bits may differ between systems. */
static double root(double x) {
    double y = x > 1 ? x : 1;
    for (int i = 0; i < 200; i++)
        y = (y + x / y) / 2;
    return x > 0 ? y : 0;
}

static void trial(const char *request, FILE *answers) {
    int groups = (int)number(request, "network.groups"), size = (int)number(request, "network.group_cells");
    size_t cells = (size_t)groups * (size_t)size;
    double dt = number(request, "resolution_ms");
    int steps = (int)(number(request, "duration_ms") / dt + 0.5);
    int delay = (int)(number(request, "synapse.delay") / dt + 0.5);
    int refractory = (int)(number(request, "cell.refractory") / dt + 0.5);
    double leak = dt / number(request, "cell.tau"), threshold = number(request, "cell.threshold");
    double sd = number(request, "cell.noise") * root(2 * leak);
    double weight = number(request, "synapse.weight");

    /* Drawn once for a seed: which connections from group to group are missing. */
    state = (uint64_t)number(request, "network_seed");
    double failure = number(request, "synapse.failure");
    unsigned char *connected = room(cells * (size_t)size, 1);
    for (size_t i = 0; i < cells * (size_t)size; i++)
        connected[i] = uniform() >= failure;

    /* Drawn for each trial: the times of the volley, and the noise. */
    state = (uint64_t)number(request, "trial_seed");
    double spread = number(request, "volley.spread");
    int entering = (int)number(request, "volley.spikes");
    int *volley = room((size_t)steps, sizeof *volley);
    for (int i = 0; i < entering; i++) {
        int step = (int)((VOLLEY_AT + spread * uniform()) / dt);
        if (step < steps)
            volley[step]++;
    }

    double *v = room(cells, sizeof *v); /* mV above rest */
    int *ready = room(cells, sizeof *ready);
    /* At most one spike of each cell in a step. The refractory period limits the number further. */
    size_t most = cells * (size_t)(steps / (refractory + 1) + 1), count = 0, sent = 0, arrived = 0;
    int32_t *spiked = room(most, sizeof *spiked), *at = room(most, sizeof *at);
    for (int step = 0; step < steps; step++) {
        /* The spikes that arrive in this step. */
        for (; sent < count && at[sent] + delay <= step; sent++) {
            size_t next = ((size_t)spiked[sent] / (size_t)size + 1) * (size_t)size;
            const unsigned char *to = connected + (size_t)spiked[sent] * (size_t)size;
            for (size_t i = 0; next < cells && i < (size_t)size; i++)
                v[next + i] += weight * to[i];
        }
        for (size_t i = 0; i < cells; i++) {
            double input = sd * noise() + (i < (size_t)size ? weight * volley[step] : 0);
            v[i] = step < ready[i] ? 0 : v[i] - leak * v[i] + input;
            if (v[i] <= threshold)
                continue;
            v[i] = 0;
            ready[i] = step + 1 + refractory;
            spiked[count] = (int32_t)i;
            at[count++] = step;
            arrived += i >= cells - (size_t)size;
        }
    }

    /* A line of JSON. Each number has as many digits as it needs. */
    fprintf(answers, "{\"id\":%.0f,\"values\":{\"arrived\":%.17g},\"spikes\":{\"chain\":{\"cells\":[",
            number(request, "id"), (double)arrived / size);
    for (size_t i = 0; i < count; i++)
        fprintf(answers, i ? ",%d" : "%d", (int)spiked[i]);
    fprintf(answers, "],\"times\":[");
    for (size_t i = 0; i < count; i++)
        fprintf(answers, i ? ",%.10g" : "%.10g", at[i] * dt);
    fprintf(answers, "]}}}\n");
    free(connected), free(volley), free(v), free(ready), free(spiked), free(at);
}

int main(void) {
    /* granule starts the program with requests on descriptor 3 and answers on descriptor 4. */
    FILE *requests = fdopen(3, "r"), *answers = fdopen(4, "w");
    if (!requests || !answers) {
        fprintf(stderr, "granule starts this program: run `granule try chain.model.yaml`\n");
        return 2;
    }
    fcntl(3, F_SETFD, FD_CLOEXEC);
    fcntl(4, F_SETFD, FD_CLOEXEC);
    char *line = NULL;
    size_t length = 0;
    /* The first line is the greeting; each later line is a trial. The end of the requests ends the program. */
    while (getline(&line, &length, requests) > 0) {
        if (strncmp(line, "{\"granule\"", 10) == 0)
            fprintf(answers, "{\"granule\":1,\"versions\":{\"compiler\":\"%s\"}}\n", __VERSION__);
        else
            trial(line, answers);
        if (fflush(answers) != 0)
            return 1;
    }
    return 0;
}
