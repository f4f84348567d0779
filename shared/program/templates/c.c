/* Leaky integrate-and-fire cells with random input, without any library. Replace this model by your own.

   cc -std=c99 -O2 -ffp-contract=off -o @NAME@ @NAME@.c
   granule try @NAME@.model.yaml
   granule run @NAME@.yaml

   -ffp-contract=off: without fused operations, the results are the same on every machine. */

#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Random numbers: SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t state;

static double uniform(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
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

static void trial(const char *request, FILE *answers) {
    int id = (int)number(request, "id");
    int cells = (int)number(request, "network.cells");
    double dt = number(request, "resolution_ms"), duration = number(request, "duration_ms");
    int steps = (int)(duration / dt + 0.5);
    int refractory = (int)(number(request, "cell.refractory") / dt + 0.5);
    double leak = dt / number(request, "cell.tau");
    double weight = number(request, "input.weight");
    double input = number(request, "input.rate") * dt / 1000; /* the probability of an input in a step */

    double *v = room((size_t)cells, sizeof *v); /* mV above rest */
    double *threshold = room((size_t)cells, sizeof *threshold);
    int *ready = room((size_t)cells, sizeof *ready); /* the step in which the refractory period ends */
    /* Drawn once for a seed: all its trials and conditions have the same thresholds. */
    state = (uint64_t)number(request, "network_seed");
    double mean = number(request, "cell.threshold"), spread = number(request, "cell.threshold_spread");
    for (int i = 0; i < cells; i++)
        threshold[i] = mean + spread * (2 * uniform() - 1);

    size_t count = 0, size = 1024;
    double *times = room(size, sizeof *times);
    int32_t *spiked = room(size, sizeof *spiked);
    /* Drawn for each trial: the input. */
    state = (uint64_t)number(request, "trial_seed");
    for (int step = 0; step < steps; step++)
        for (int i = 0; i < cells; i++) {
            /* Every cell draws in every step, so that conditions with other parameters have the same input. */
            int has_input = uniform() < input;
            if (step < ready[i])
                continue;
            v[i] += (has_input ? weight : 0) - v[i] * leak;
            if (v[i] <= threshold[i])
                continue;
            v[i] = 0;
            ready[i] = step + 1 + refractory;
            if (count == size) {
                size *= 2;
                times = realloc(times, size * sizeof *times);
                spiked = realloc(spiked, size * sizeof *spiked);
                if (!times || !spiked) {
                    fprintf(stderr, "no memory for %zu spikes\n", size);
                    exit(1);
                }
            }
            times[count] = step * dt;
            spiked[count++] = i;
        }

    /* A line of JSON, and the arrays behind it. `raw` names their type: little-endian numbers of 8 and 4 bytes. */
    fprintf(answers,
            "{\"id\":%d,\"bytes\":%zu,\"spikes\":{\"cells\":{\"times\":{\"raw\":\"<f8\",\"at\":0,\"count\":%zu},"
            "\"cells\":{\"raw\":\"<i4\",\"at\":%zu,\"count\":%zu}}},\"values\":{\"rate\":%.17g}}\n",
            id, 12 * count, count, 8 * count, count, 1000.0 * (double)count / cells / duration);
    fwrite(times, sizeof *times, count, answers);
    fwrite(spiked, sizeof *spiked, count, answers);
    free(v), free(threshold), free(ready), free(times), free(spiked);
}

int main(void) {
    /* granule starts the program with requests on descriptor 3 and answers on descriptor 4. */
    FILE *requests = fdopen(3, "r"), *answers = fdopen(4, "w");
    if (!requests || !answers) {
        fprintf(stderr, "granule starts this program: run `granule try @NAME@.model.yaml`\n");
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
