// A wrong clock for one process, to be preloaded: the wall clock is off by the seconds (int64) in the file that
// EDGESIGHT_CLOCK names, which may change while the process runs. The monotonic clocks stay as they are.
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static std::int64_t offset() {
    static volatile std::int64_t *mapped = [] {
        static std::int64_t none = 0;
        const char *path = std::getenv("EDGESIGHT_CLOCK");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (file < 0)
            return static_cast<volatile std::int64_t *>(&none);
        void *memory = mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, file, 0);
        close(file);
        return static_cast<volatile std::int64_t *>(memory == MAP_FAILED ? &none : memory);
    }();
    return *mapped;
}

extern "C" int clock_gettime(clockid_t clock, struct timespec *time) noexcept {
    using Real = int (*)(clockid_t, struct timespec *);
    static Real real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "clock_gettime"));
    int result = real(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += offset();
    return result;
}

extern "C" int gettimeofday(struct timeval *time, void *) noexcept {
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return result;
}

extern "C" time_t time(time_t *where) noexcept {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
