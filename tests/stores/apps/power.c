/* Keeps, beside each file, a copy of it as of its last sync: what is left of it after a power cut, at the least.
 * Loaded with LD_PRELOAD into a process that uses a store. sync_count() is the number of syncs so far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static long count;

long sync_count(void) { return count; }

static void keep(int file) {
    char link[64], path[512], kept[600], begun[700];
    static char block[1 << 16];
    ssize_t length;
    off_t at = 0;
    int copy;
    struct stat found;

    count++;
    if (getenv("POWER_KEEPS") == NULL || fstat(file, &found) != 0 || !S_ISREG(found.st_mode))
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    snprintf(kept, sizeof kept, "%s.kept", path);
    snprintf(begun, sizeof begun, "%s.begun", kept);
    copy = open(begun, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    while (copy >= 0 && (length = pread(file, block, sizeof block, at)) > 0 && write(copy, block, length) == length)
        at += length;
    close(copy);
    rename(begun, kept);
}

int fdatasync(int file) {
    static int (*next)(int);
    int result;

    if (next == NULL)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    result = next(file);
    keep(file);
    return result;
}

int fsync(int file) {
    static int (*next)(int);
    int result;

    if (next == NULL)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    result = next(file);
    keep(file);
    return result;
}
