/* A sound system that loses samples: LD_PRELOAD this into a program that captures by ALSA.
 *
 * It stands before snd_pcm_readi, by which PortAudio reads. Once the program has got `at` frames
 * (or more: it cuts in between two reads), it reads n more and throws them away, as if they had
 * never come. The samples after them come as always, and nobody is told.
 *
 *   DISCARD="at:n at:n ..."   what to throw away, in rising order of `at`
 *   DISCARD_LOG=path          gets a line "at,n" for each: how many frames the program had got by
 *                             then and how many were thrown away. It is the truth.
 *
 * For one stream, read by one thread. libasound's functions are looked up at the first call, so
 * that neither it nor its headers are needed here: snd_pcm_t * is a void *, lengths are longs.
 *
 *   gcc -shared -fPIC -O2 -Wall -o discard.so discard.c -ldl
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 100

static long (*read_frames)(void *pcm, void *buffer, unsigned long size);
static long (*frames_to_bytes)(void *pcm, long frames);
static int (*wait_for_frames)(void *pcm, int timeout_ms);

static const char *plan;  /* what is left of DISCARD */
static FILE *discards;    /* DISCARD_LOG; NULL where it is not asked for */
static long long got;     /* frames that the program got so far */

/* A function of libasound itself. Not by RTLD_NEXT: what Python loads is in no global scope. */
static void *look_up(const char *name)
{
    void *library = dlopen("libasound.so.2", RTLD_LAZY);
    void *found = library ? dlsym(library, name) : NULL;

    if (!found) {
        fprintf(stderr, "discard.so: no %s here\n", name);
        abort();
    }
    return found;
}

static void begin(void)
{
    const char *path = getenv("DISCARD_LOG");

    read_frames = look_up("snd_pcm_readi");
    frames_to_bytes = look_up("snd_pcm_frames_to_bytes");
    wait_for_frames = look_up("snd_pcm_wait");
    plan = getenv("DISCARD");
    discards = path ? fopen(path, "a") : NULL;
}

/* Read n frames and forget them; returns how many there were until the stream failed. */
static long throw_away(void *pcm, long n)
{
    void *scratch = malloc(frames_to_bytes(pcm, n));
    long done = 0;

    while (scratch && done < n) {
        long count = read_frames(pcm, scratch, n - done);
        if (count > 0)
            done += count;
        else if (count == 0 || count == -EAGAIN)
            wait_for_frames(pcm, WAIT_MS);
        else
            break;
    }
    free(scratch);
    return done;
}

/* Do what the plan has for now. */
static void follow_plan(void *pcm)
{
    while (plan && *plan) {
        char *end;
        long long at = strtoll(plan, &end, 10);
        long n;

        if (*end != ':' || got < at)
            return;
        n = strtol(end + 1, &end, 10);
        plan = end;
        n = throw_away(pcm, n);
        if (discards) {
            fprintf(discards, "%lld,%ld\n", got, n);
            fflush(discards);
        }
    }
}

long snd_pcm_readi(void *pcm, void *buffer, unsigned long size)
{
    long count;

    if (!read_frames)
        begin();
    follow_plan(pcm);
    count = read_frames(pcm, buffer, size);
    if (count > 0)
        got += count;
    return count;
}
