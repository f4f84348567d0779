/* A file system without modes, as FAT or a drive of Windows is: below a path with `modeless` in it, every file seems to be
   open to everybody, whatever its mode was set to. To be loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_below(int fd, const char *path) {
    char link[64], name[PATH_MAX];
    if (path && *path) return strstr(path, "modeless") != NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strstr(name, "modeless") != NULL;
}

int statx(int fd, const char *path, int flags, unsigned mask, struct statx *found) {
    int (*real)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_NEXT, "statx");
    int result = real(fd, path, flags, mask, found);
    if (!result && is_below(fd, path)) found->stx_mode |= 0777;
    return result;
}

int fstat64(int fd, struct stat64 *found) {
    int (*real)(int, struct stat64 *) = dlsym(RTLD_NEXT, "fstat64");
    int result = real(fd, found);
    if (!result && is_below(fd, NULL)) found->st_mode |= 0777;
    return result;
}

int fstat(int fd, struct stat *found) {
    int (*real)(int, struct stat *) = dlsym(RTLD_NEXT, "fstat");
    int result = real(fd, found);
    if (!result && is_below(fd, NULL)) found->st_mode |= 0777;
    return result;
}
