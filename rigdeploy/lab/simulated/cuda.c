/*
 * libcuda.so.1 and libnvidia-ml.so.1 of a rigdeploy twin, in one shared object.
 *
 * Simulated by rigdeploy's lab: it holds nothing of NVIDIA's. It has those functions of both libraries that
 * rigdeploy/node/active.py calls, with their names, signatures and error codes (cuda.h and nvml.h, CUDA 11 to 13).
 *
 *     gcc -shared -fPIC -O2 -Wall -Werror -pthread -o libcuda.so.1 cuda.c      and the same file as libnvidia-ml.so.1
 *
 * RIGDEPLOY_SIMULATED_CUDA names the file that describes the cards; otherwise /run/rigdeploy-twin/cuda.conf does.
 * Without that file there is no driver: cuInit answers 100 (CUDA_ERROR_NO_DEVICE), nvmlInit_v2 answers 9
 * (NVML_ERROR_DRIVER_NOT_LOADED).
 *
 * The file: one card per line, in the order of their addresses, as words KEY=VALUE parted by blanks; a value holds no
 * blank. A line that starts with # is a comment. A line without address= is about the whole driver:
 *
 *     module=PATH       the driver is loaded only while this path exists: /sys/module/nvidia
 *     cuinit=CODE       cuInit fails with it: 803 is CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
 *     nvmlinit=CODE     nvmlInit_v2 fails with it: 18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH
 *
 * A card:
 *
 *     address=0000:41:00.0    PCI address (needed)
 *     memory_mib=24576        all its memory (needed)
 *     used_mib=0              of it, what other programs hold
 *     gen=4 width=16          its link under load; without them, what link_dir shows at that moment
 *     efficiency=0.85         share of the link's theoretical bandwidth that copies reach
 *     switch=NAME             cards of one NAME share the bandwidth of one link among those that copy at a time
 *     link_dir=DIR            the card's directory of sysfs. While it copies, current_link_speed there says gen's
 *                             speed; 200 ms after the last copy it says again what it said before
 *     port_dir=DIR            likewise for the port above it
 *     correctable_per_gb=0    AER errors that link_dir's aer_dev_correctable gains per 10^9 bytes copied
 *     nonfatal_per_gb=0 fatal_per_gb=0
 *     aer_dir=DIR             count them there instead of in link_dir (the port's end of the link, say)
 *     replays_per_gb=0        likewise for NVML's replay counter, which is kept in
 *     replays_file=PATH       this file, as a decimal number; without it the counter stays 0
 *     bad_memory_at_mib=N     from there on, words have a bit that always reads 1 (the first 100 MiB hold buffers of
 *     bad_words=1             the check and are not tested); so many words
 *     alias_mib=N             memory beyond N MiB is in truth the memory from 0 on again: a card of faked capacity
 *     processes=N             so many processes compute on it
 *     mig=1                   MIG is on
 *     p2p=1                   it reaches every other card that says so too
 *     p2p_broken=1            ... but what it sends to them arrives wrong
 *     nvlink=ADDRESS,-        one word per NVLink, parted by commas: the address at the other end, - for one that is
 *                             down
 *     fail=NAME:CODE:AFTER    that function fails with CODE from its call number AFTER (0: the first) on; several are
 *                             parted by commas, :AFTER may be left out
 *     hang=NAME:AFTER         that function never returns
 *
 * A link or counter file that is absent or cannot be written is left alone. Copies really copy. Time on a stream passes
 * as the link would let it, and a copy takes at least that long; events show the stream's time, so that a busy host
 * does not look like a slow link. Device memory is real only where it was written, and a copy from device to device
 * costs nothing until either side changes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define CARDS 64
#define PATH_SIZE 512
#define TEXT_SIZE 8192
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define SECOND 1000000000LL

/* cuda.h, CUresult */
enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
    CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
};
/* nvml.h, nvmlReturn_t */
enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
};

/* GT/s as sysfs writes them, and GB/s (10^9) of one lane after encoding, by generation. */
static const char *const SPEEDS[] = {"", "2.5", "5.0", "8.0", "16.0", "32.0", "64.0"};
static const double LANE_GBPS[] = {0, .25, .5, .985, 1.969, 3.938, 7.563};
static const int64_t IDLE_AFTER = SECOND / 5;
static const int64_t SHARED_FOR = SECOND / 10;

struct card {
    char address[32], link_dir[PATH_SIZE], port_dir[PATH_SIZE], aer_dir[PATH_SIZE], replays_file[PATH_SIZE];
    char nvlink[PATH_SIZE], fail[PATH_SIZE], hang[PATH_SIZE], uplink[64];
    size_t memory, used, bad, bad_words, alias;
    int gen, width, processes, mig, p2p, p2p_broken;
    double efficiency, correctable, nonfatal, fatal, replays; /* errors per 10^9 bytes */

    pthread_mutex_t lock;
    char *base;               /* the device's address space; NULL until the context is first retained */
    struct allocation *first; /* ordered by offset */
    size_t allocated;
    bool peers[CARDS];
    struct {
        char *source;
        size_t size;
        int file;
    } snapshot;
    int64_t last_copy; /* monotonic ns */
    bool loaded;       /* the link files show the loaded generation */
    char idle[2][64];  /* what the card's and the port's current_link_speed said before */
    double due[4];     /* errors that are not yet whole */
};

struct allocation {
    size_t offset, size;
    struct allocation *next;
};

struct stream {
    int64_t now; /* ns that the work on it has taken */
};

static struct card cards[CARDS];
static int count, cuda_code = CUDA_ERROR_NOT_INITIALIZED, nvml_code = NVML_ERROR_UNINITIALIZED;
static __thread struct card *current;
static pthread_mutex_t link_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- the description ------------------------------------------------------------------------------------------- */

static void copy_text(char *target, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);

    memmove(target, text, length);
    target[length] = 0;
}

static void read_word(struct card *card, const char *key, const char *value)
{
    struct {
        const char *key;
        char *text;
        size_t size;
    } texts[] = {
        {"address", card->address, sizeof card->address},
        {"switch", card->uplink, sizeof card->uplink},
        {"link_dir", card->link_dir, PATH_SIZE},
        {"port_dir", card->port_dir, PATH_SIZE},
        {"aer_dir", card->aer_dir, PATH_SIZE},
        {"replays_file", card->replays_file, PATH_SIZE},
        {"nvlink", card->nvlink, PATH_SIZE},
        {"fail", card->fail, PATH_SIZE},
        {"hang", card->hang, PATH_SIZE},
    };
    struct {
        const char *key;
        int *number;
    } numbers[] = {{"gen", &card->gen}, {"width", &card->width}, {"processes", &card->processes},
                   {"mig", &card->mig}, {"p2p", &card->p2p},     {"p2p_broken", &card->p2p_broken}};
    struct {
        const char *key;
        size_t *size, unit;
    } sizes[] = {{"memory_mib", &card->memory, MIB}, {"used_mib", &card->used, MIB}, {"alias_mib", &card->alias, MIB},
                 {"bad_memory_at_mib", &card->bad, MIB}, {"bad_words", &card->bad_words, 1}};
    struct {
        const char *key;
        double *rate;
    } rates[] = {{"efficiency", &card->efficiency}, {"correctable_per_gb", &card->correctable},
                 {"nonfatal_per_gb", &card->nonfatal}, {"fatal_per_gb", &card->fatal},
                 {"replays_per_gb", &card->replays}};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(key, texts[i].key))
            copy_text(texts[i].text, texts[i].size, value);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].key))
            *numbers[i].number = atoi(value);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(key, sizes[i].key))
            *sizes[i].size = strtoull(value, NULL, 10) * sizes[i].unit;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (!strcmp(key, rates[i].key))
            *rates[i].rate = atof(value);
}

static void read_driver_word(const char *key, const char *value)
{
    if (!strcmp(key, "cuinit"))
        cuda_code = atoi(value);
    if (!strcmp(key, "nvmlinit"))
        nvml_code = atoi(value);
    if (!strcmp(key, "module") && access(value, F_OK)) {
        cuda_code = CUDA_ERROR_NO_DEVICE;
        nvml_code = NVML_ERROR_DRIVER_NOT_LOADED;
    }
}

static void read_line(char *line)
{
    bool is_card = strstr(line, "address=") != NULL && count < CARDS;
    struct card *card = &cards[count];
    char *rest, *end;

    if (is_card) {
        memset(card, 0, sizeof *card);
        pthread_mutex_init(&card->lock, NULL);
        card->efficiency = .85;
        card->bad_words = 1;
        card->snapshot.file = -1;
        count++;
    }
    for (char *word = strtok_r(line, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest)) {
        if (!(end = strchr(word, '=')))
            continue;
        *end = 0;
        if (is_card)
            read_word(card, word, end + 1);
        else
            read_driver_word(word, end + 1);
    }
    if (is_card && !*card->aer_dir)
        copy_text(card->aer_dir, PATH_SIZE, card->link_dir);
}

static void read_description(void)
{
    const char *path = getenv("RIGDEPLOY_SIMULATED_CUDA");
    FILE *file = fopen(path ? path : "/run/rigdeploy-twin/cuda.conf", "r");
    char line[TEXT_SIZE];

    cuda_code = CUDA_ERROR_NO_DEVICE;
    nvml_code = NVML_ERROR_DRIVER_NOT_LOADED;
    if (!file)
        return;
    cuda_code = CUDA_SUCCESS;
    nvml_code = NVML_SUCCESS;
    while (fgets(line, sizeof line, file))
        if (*line != '#')
            read_line(line);
    fclose(file);
    if (!count && cuda_code == CUDA_SUCCESS)
        cuda_code = CUDA_ERROR_NO_DEVICE;
}

static void describe(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_description);
}

/* --- injected failures ----------------------------------------------------------------------------------------- */

/* What stands behind NAME: in a list such as NAME:2:10,OTHER:1; NULL where it is not in it. */
static const char *entry(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, name, length) && (at[length] == ':' || at[length] == ',' || !at[length]))
            return at + length;
    return NULL;
}

/* How many times a card's function was called before, by name. */
static int calls_before(struct card *card, const char *name)
{
    static struct {
        struct card *card;
        const char *name;
        int calls;
    } known[CARDS * 32];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int before = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].name && (known[i].card != card || strcmp(known[i].name, name)))
            continue;
        known[i].card = card;
        known[i].name = name;
        before = known[i].calls++;
        break;
    }
    pthread_mutex_unlock(&lock);
    return before;
}

static int injected(struct card *card, const char *name)
{
    const char *failure = entry(card->fail, name), *hang = entry(card->hang, name);
    int before, code = 0, after = 0;

    if (!failure && !hang)
        return 0;
    before = calls_before(card, name);
    if (hang && sscanf(hang, ":%d", &after) < 1)
        after = 0;
    while (hang && before >= after)
        pause();
    after = 0;
    return failure && sscanf(failure, ":%d:%d", &code, &after) >= 1 && before >= after ? code : 0;
}

#define FAIL_IF_TOLD(card)                        \
    do {                                          \
        int told = injected(card, __func__);      \
        if (told)                                 \
            return told;                          \
    } while (0)

#define NEED_CONTEXT()                            \
    do {                                          \
        if (!current)                             \
            return CUDA_ERROR_INVALID_CONTEXT;    \
        FAIL_IF_TOLD(current);                    \
    } while (0)

/* --- the link: files of sysfs ---------------------------------------------------------------------------------- */

static int64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND + at.tv_nsec;
}

static void sleep_until(int64_t when)
{
    struct timespec at = {when / SECOND, when % SECOND};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static bool read_file(const char *directory, const char *name, char *text, size_t size)
{
    char path[PATH_SIZE * 2];
    ssize_t length;
    int file;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (!*directory || (file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return false;
    length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* Never empty in between: a reader may look at any time. */
static void write_file(const char *path, const char *text)
{
    size_t length = strlen(text);
    int file = open(path, O_WRONLY | O_CLOEXEC);

    if (file < 0)
        return;
    if (write(file, text, length) != (ssize_t)length || ftruncate(file, length))
        fprintf(stderr, "simulated CUDA driver: %s: %s\n", path, strerror(errno));
    close(file);
}

static void write_into(const char *directory, const char *name, const char *text)
{
    char path[PATH_SIZE * 2];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (*directory)
        write_file(path, text);
}

static int gen_of(struct card *card)
{
    char text[64];

    if (!card->gen && read_file(card->link_dir, "current_link_speed", text, sizeof text))
        for (int gen = 1; gen < 7; gen++)
            if (atof(text) == atof(SPEEDS[gen]))
                card->gen = gen;
    return card->gen > 0 && card->gen < 7 ? card->gen : 1;
}

static int width_of(struct card *card)
{
    char text[64];

    if (card->width)
        return card->width;
    return read_file(card->link_dir, "current_link_width", text, sizeof text) && atoi(text) > 0 ? atoi(text) : 1;
}

static double link_gbps(struct card *card)
{
    return LANE_GBPS[gen_of(card)] * width_of(card) * card->efficiency;
}

static void set_loaded(struct card *card, bool loaded)
{
    const char *directories[] = {card->link_dir, card->port_dir};
    char text[64];

    if (card->loaded == loaded)
        return;
    card->loaded = loaded;
    snprintf(text, sizeof text, "%s GT/s PCIe\n", SPEEDS[gen_of(card)]);
    for (int end = 0; end < 2; end++) {
        if (loaded && !read_file(directories[end], "current_link_speed", card->idle[end], sizeof card->idle[end]))
            *card->idle[end] = 0;
        if (*card->idle[end])
            write_into(directories[end], "current_link_speed", loaded ? text : card->idle[end]);
    }
}

static void *put_to_rest(void *unused)
{
    (void)unused;
    for (;;) {
        sleep_until(now() + IDLE_AFTER / 4);
        pthread_mutex_lock(&link_lock);
        for (int i = 0; i < count; i++)
            if (now() - cards[i].last_copy > IDLE_AFTER)
                set_loaded(&cards[i], false);
        pthread_mutex_unlock(&link_lock);
    }
    return NULL;
}

static void start_timer(void)
{
    pthread_t timer;

    if (!pthread_create(&timer, NULL, put_to_rest, NULL))
        pthread_detach(timer);
}

__attribute__((destructor)) static void leave_links_at_rest(void)
{
    pthread_mutex_lock(&link_lock);
    for (int i = 0; i < count; i++)
        set_loaded(&cards[i], false);
    pthread_mutex_unlock(&link_lock);
}

static void touch(struct card *card)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start_timer);
    pthread_mutex_lock(&link_lock);
    card->last_copy = now();
    set_loaded(card, true);
    pthread_mutex_unlock(&link_lock);
}

/* Add to a counter and to the file's total, as the kernel does: lines of a name, a blank and a number. */
static void add_errors(struct card *card, const char *file, const char *counter, long errors)
{
    char text[TEXT_SIZE], changed[TEXT_SIZE], name[64], *rest;
    size_t length = 0;
    unsigned long value;

    if (!read_file(card->aer_dir, file, text, sizeof text))
        return;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(line, "%63s %lu", name, &value) != 2 || length > sizeof changed - 128)
            return;
        if (!strcmp(name, counter) || !strncmp(name, "TOTAL_ERR", 9))
            value += errors;
        length += snprintf(changed + length, sizeof changed - length, "%s %lu\n", name, value);
    }
    write_into(card->aer_dir, file, changed);
}

static long replays_of(struct card *card)
{
    FILE *file = *card->replays_file ? fopen(card->replays_file, "r") : NULL;
    long value = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%ld", &value) != 1)
        value = 0;
    fclose(file);
    return value;
}

static void add_replays(struct card *card, long errors)
{
    long value = replays_of(card) + errors;
    FILE *file = *card->replays_file ? fopen(card->replays_file, "w") : NULL;

    if (file) {
        fprintf(file, "%ld\n", value);
        fclose(file);
    }
}

static void count_errors(struct card *card, size_t size)
{
    const double rates[] = {card->correctable, card->nonfatal, card->fatal, card->replays};
    const char *const files[] = {"aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal"};
    const char *const counters[] = {"BadTLP", "CmpltTO", "SDES"};

    pthread_mutex_lock(&card->lock);
    for (int kind = 0; kind < 4; kind++) {
        card->due[kind] += rates[kind] * size / 1e9;
        if (card->due[kind] < 1)
            continue;
        if (kind < 3)
            add_errors(card, files[kind], counters[kind], (long)card->due[kind]);
        else
            add_replays(card, (long)card->due[kind]);
        card->due[kind] -= (long)card->due[kind];
    }
    pthread_mutex_unlock(&card->lock);
}

/* How many cards copy through this card's uplink now, itself included. */
static int sharers(struct card *card)
{
    int found = 1;

    pthread_mutex_lock(&link_lock);
    for (int i = 0; *card->uplink && i < count; i++)
        found += &cards[i] != card && !strcmp(cards[i].uplink, card->uplink) && cards[i].last_copy &&
                 now() - cards[i].last_copy < SHARED_FOR;
    pthread_mutex_unlock(&link_lock);
    return found;
}

/* --- device memory --------------------------------------------------------------------------------------------- */

static struct card *owner(uint64_t pointer)
{
    for (int i = 0; i < count; i++)
        if (cards[i].base && pointer - (uintptr_t)cards[i].base < cards[i].memory)
            return &cards[i];
    return NULL;
}

static bool reserve(struct card *card)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    if (!card->base) {
        void *base = mmap(NULL, card->memory, PROT_READ | PROT_WRITE, flags, -1, 0);
        card->base = base == MAP_FAILED ? NULL : base;
    }
    return card->base != NULL;
}

/* Where a device address really lies, and in *run how many of the bytes from it on lie together. */
static char *at(struct card *card, uint64_t pointer, size_t size, size_t *run)
{
    size_t offset = pointer - (uintptr_t)card->base;

    *run = size;
    if (card->alias) {
        offset %= card->alias;
        if (*run > card->alias - offset)
            *run = card->alias - offset;
    }
    return card->base + offset;
}

/* Memory is about to change: what was kept of it for cheap copies is old. */
static void forget(struct card *card, const char *target, size_t size)
{
    if (card->snapshot.file >= 0 && target < card->snapshot.source + card->snapshot.size &&
        target + size > card->snapshot.source) {
        close(card->snapshot.file);
        card->snapshot.file = -1;
    }
}

/* Keep what lies there in a file, of which any number of private mappings cost nothing. */
static bool keep(struct card *card, char *source, size_t size)
{
    if (card->snapshot.file >= 0 && card->snapshot.source == source && card->snapshot.size == size)
        return true;
    if (card->snapshot.file >= 0)
        close(card->snapshot.file);
    card->snapshot.source = source;
    card->snapshot.size = size;
    card->snapshot.file = memfd_create("simulated device memory", MFD_CLOEXEC);
    for (size_t done = 0; card->snapshot.file >= 0 && done < size;) {
        ssize_t written = write(card->snapshot.file, source + done, size - done);
        if (written <= 0) {
            close(card->snapshot.file);
            card->snapshot.file = -1;
        }
        done += written > 0 ? written : 0;
    }
    return card->snapshot.file >= 0;
}

static void move_inside(struct card *card, char *target, char *source, size_t size)
{
    const int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    bool whole = !((uintptr_t)target % PAGE) && !((uintptr_t)source % PAGE) && !(size % PAGE);
    bool apart = target + size <= source || source + size <= target;

    forget(card, target, size);
    if (whole && apart && size >= MIB && keep(card, source, size) &&
        mmap(target, size, PROT_READ | PROT_WRITE, flags, card->snapshot.file, 0) != MAP_FAILED)
        return;
    memmove(target, source, size);
}

/* What is read from bad memory: one bit of a word always reads 1. */
static void spoil(struct card *card, const char *source, char *target, size_t size)
{
    const char *bad = card->base + card->bad;

    for (size_t word = 0; card->bad && word < card->bad_words; word++) {
        const char *byte = bad + 4 * word;
        if (byte >= source && byte < source + size)
            target[byte - source] |= 0x10;
    }
}

static int allocate(struct card *card, uint64_t *pointer, size_t size)
{
    size_t rounded = (size + 2 * MIB - 1) / (2 * MIB) * (2 * MIB), offset = 0;
    struct allocation **place = &card->first, *new;

    if (card->used + card->allocated + rounded > card->memory)
        return CUDA_ERROR_OUT_OF_MEMORY;
    while (*place && (*place)->offset < offset + rounded) {
        offset = (*place)->offset + (*place)->size;
        place = &(*place)->next;
    }
    if (offset + rounded > card->memory || !(new = malloc(sizeof *new)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    *new = (struct allocation){offset, rounded, *place};
    *place = new;
    card->allocated += rounded;
    *pointer = (uintptr_t)card->base + offset;
    return CUDA_SUCCESS;
}

static int release(struct card *card, uint64_t pointer)
{
    for (struct allocation **place = &card->first; *place; place = &(*place)->next) {
        struct allocation *old = *place;
        char *start = card->base + old->offset;
        if ((uintptr_t)start != pointer)
            continue;
        forget(card, start, old->size);
        mmap(start, old->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        card->allocated -= old->size;
        *place = old->next;
        free(old);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* --- copies ---------------------------------------------------------------------------------------------------- */

/* Let a copy that began at ``begun`` take its time, on the stream and in the world. */
static void take_time(struct stream *stream, int64_t begun, size_t size, double gbps)
{
    int64_t duration = (int64_t)(size / gbps);

    stream->now += duration;
    sleep_until(begun + duration);
}

static int copy(struct card *card, uint64_t device, char *host, size_t size, struct stream *stream, bool to_device)
{
    int64_t begun = now();
    double gbps;
    size_t run;

    if (!stream || owner(device) != card || owner(device + size - 1) != card)
        return CUDA_ERROR_INVALID_VALUE;
    touch(card);
    gbps = link_gbps(card) / sharers(card);
    pthread_mutex_lock(&card->lock);
    for (size_t done = 0; done < size; done += run) {
        char *place = at(card, device + done, size - done, &run);
        if (to_device) {
            forget(card, place, run);
            memcpy(place, host + done, run);
        } else {
            memcpy(host + done, place, run);
            spoil(card, place, host + done, run);
        }
    }
    pthread_mutex_unlock(&card->lock);
    take_time(stream, begun, size, gbps);
    touch(card);
    count_errors(card, size);
    return CUDA_SUCCESS;
}

/* --- libcuda.so.1: cuda.h -------------------------------------------------------------------------------------- */

API int cuInit(unsigned flags)
{
    (void)flags;
    describe();
    return cuda_code;
}

API int cuGetErrorName(int code, const char **name)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
        {0, "CUDA_SUCCESS"},
        {1, "CUDA_ERROR_INVALID_VALUE"},
        {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {3, "CUDA_ERROR_NOT_INITIALIZED"},
        {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {100, "CUDA_ERROR_NO_DEVICE"},
        {101, "CUDA_ERROR_INVALID_DEVICE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"},
        {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
        {217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"},
        {304, "CUDA_ERROR_OPERATING_SYSTEM"},
        {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
        {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };

    *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            *name = names[i].name;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API int cuDeviceGetCount(int *number)
{
    *number = count;
    return cuda_code;
}

API int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal >= 0 && ordinal < count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API int cuDeviceGetPCIBusId(char *text, int size, int device)
{
    if (device < 0 || device >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    FAIL_IF_TOLD(&cards[device]);
    snprintf(text, size, "%s", cards[device].address);
    return CUDA_SUCCESS;
}

API int cuDevicePrimaryCtxRetain(struct card **context, int device)
{
    if (device < 0 || device >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    FAIL_IF_TOLD(&cards[device]);
    if (!reserve(&cards[device]))
        return CUDA_ERROR_OUT_OF_MEMORY;
    *context = &cards[device];
    return CUDA_SUCCESS;
}

API int cuDevicePrimaryCtxRelease_v2(int device)
{
    return device >= 0 && device < count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API int cuCtxSetCurrent(struct card *context)
{
    if (context)
        FAIL_IF_TOLD(context);
    current = context;
    return CUDA_SUCCESS;
}

API int cuStreamCreate(struct stream **stream, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT();
    *stream = calloc(1, sizeof **stream);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API int cuStreamSynchronize(struct stream *stream)
{
    (void)stream;
    NEED_CONTEXT();
    return CUDA_SUCCESS;
}

API int cuStreamDestroy_v2(struct stream *stream)
{
    free(stream);
    return CUDA_SUCCESS;
}

API int cuEventCreate(int64_t **event, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT();
    *event = calloc(1, sizeof **event);
    return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API int cuEventRecord(int64_t *event, struct stream *stream)
{
    NEED_CONTEXT();
    *event = stream->now;
    return CUDA_SUCCESS;
}

API int cuEventSynchronize(int64_t *event)
{
    (void)event;
    NEED_CONTEXT();
    return CUDA_SUCCESS;
}

API int cuEventElapsedTime(float *milliseconds, int64_t *start, int64_t *end)
{
    NEED_CONTEXT();
    *milliseconds = (*end - *start) / 1e6f;
    return CUDA_SUCCESS;
}

API int cuEventDestroy_v2(int64_t *event)
{
    free(event);
    return CUDA_SUCCESS;
}

API int cuMemGetInfo_v2(size_t *available, size_t *total)
{
    NEED_CONTEXT();
    *total = current->memory;
    *available = current->memory - current->used - current->allocated;
    return CUDA_SUCCESS;
}

API int cuMemHostAlloc(void **host, size_t size, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT();
    *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return *host == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

API int cuMemFreeHost(void *host)
{
    (void)host; /* its size is not known; the process soon ends */
    return CUDA_SUCCESS;
}

API int cuMemAlloc_v2(uint64_t *pointer, size_t size)
{
    int code;

    NEED_CONTEXT();
    pthread_mutex_lock(&current->lock);
    code = allocate(current, pointer, size);
    pthread_mutex_unlock(&current->lock);
    return code;
}

API int cuMemFree_v2(uint64_t pointer)
{
    struct card *card = owner(pointer);
    int code;

    if (!card)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&card->lock);
    code = release(card, pointer);
    pthread_mutex_unlock(&card->lock);
    return code;
}

API int cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, struct stream *stream)
{
    NEED_CONTEXT();
    return copy(current, target, (char *)source, size, stream, true);
}

API int cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, struct stream *stream)
{
    NEED_CONTEXT();
    return copy(current, source, target, size, stream, false);
}

API int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t size, struct stream *stream)
{
    size_t run, other;

    (void)stream;
    NEED_CONTEXT();
    pthread_mutex_lock(&current->lock);
    for (size_t done = 0; done < size; done += run) {
        char *from = at(current, source + done, size - done, &other);
        char *to = at(current, target + done, other, &run);
        move_inside(current, to, from, run);
    }
    pthread_mutex_unlock(&current->lock);
    return CUDA_SUCCESS;
}

API int cuMemsetD32Async(uint64_t target, unsigned value, size_t words, struct stream *stream)
{
    size_t run;

    (void)stream;
    NEED_CONTEXT();
    pthread_mutex_lock(&current->lock);
    for (size_t done = 0; done < words * 4; done += run) {
        char *place = at(current, target + done, words * 4 - done, &run);
        forget(current, place, run);
        for (size_t byte = 0; byte < run; byte += 4)
            memcpy(place + byte, &value, 4);
    }
    pthread_mutex_unlock(&current->lock);
    return CUDA_SUCCESS;
}

API int cuDeviceCanAccessPeer(int *can, int device, int peer)
{
    if (device < 0 || device >= count || peer < 0 || peer >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    FAIL_IF_TOLD(&cards[device]);
    *can = device != peer && cards[device].p2p && cards[peer].p2p;
    return CUDA_SUCCESS;
}

API int cuCtxEnablePeerAccess(struct card *peer, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT();
    if (!current->p2p || !peer->p2p)
        return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    if (current->peers[peer - cards])
        return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    current->peers[peer - cards] = true;
    return CUDA_SUCCESS;
}

API int cuCtxDisablePeerAccess(struct card *peer)
{
    NEED_CONTEXT();
    current->peers[peer - cards] = false;
    return CUDA_SUCCESS;
}

API int cuMemcpyPeerAsync(uint64_t target, struct card *to, uint64_t source, struct card *from, size_t size,
                          struct stream *stream)
{
    double gbps = link_gbps(to) < link_gbps(from) ? link_gbps(to) : link_gbps(from);
    bool direct = to->peers[from - cards] || from->peers[to - cards];
    int64_t begun = now();
    size_t run, other;

    NEED_CONTEXT();
    touch(from);
    touch(to);
    for (size_t done = 0; done < size; done += run) {
        char *start = at(from, source + done, size - done, &other);
        char *end = at(to, target + done, other, &run);
        pthread_mutex_lock(&to->lock);
        forget(to, end, run);
        memcpy(end, start, run);
        if (direct && from->p2p_broken)
            end[run / 2] ^= 1;
        pthread_mutex_unlock(&to->lock);
    }
    /* Without direct access the driver goes through the host's memory: over one link, then over the other. */
    take_time(stream, begun, size, direct ? gbps : gbps / 2);
    count_errors(from, size);
    count_errors(to, size);
    return CUDA_SUCCESS;
}

/* --- libnvidia-ml.so.1: nvml.h --------------------------------------------------------------------------------- */

struct pci_info { /* nvmlPciInfo_t */
    char legacy_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};

API int nvmlInit_v2(void)
{
    describe();
    return nvml_code;
}

API const char *nvmlErrorString(int code)
{
    switch (code) {
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *id, struct card **device)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(cards[i].address, id)) {
            FAIL_IF_TOLD(&cards[i]);
            *device = &cards[i];
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}

/* ``processes`` is never filled in: the check only asks how many there are. */
static int running(struct card *card, unsigned *number)
{
    bool fits = *number >= (unsigned)card->processes;

    *number = card->processes;
    return fits ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

#ifndef SIMULATE_OLD_NVML
API int nvmlDeviceGetComputeRunningProcesses_v3(struct card *card, unsigned *number, void *processes)
{
    (void)processes;
    FAIL_IF_TOLD(card);
    return running(card, number);
}
#endif

API int nvmlDeviceGetComputeRunningProcesses(struct card *card, unsigned *number, void *processes)
{
    (void)processes;
    FAIL_IF_TOLD(card);
    return running(card, number);
}

API int nvmlDeviceGetMigMode(struct card *card, unsigned *mode, unsigned *pending)
{
    FAIL_IF_TOLD(card);
    *mode = *pending = card->mig;
    return NVML_SUCCESS;
}

API int nvmlDeviceGetPcieReplayCounter(struct card *card, unsigned *value)
{
    FAIL_IF_TOLD(card);
    *value = replays_of(card);
    return NVML_SUCCESS;
}

/* The address at the other end of an NVLink, "" for one that is down; false where the card has no such link. */
static bool far_end(struct card *card, unsigned link, char *address, size_t size)
{
    const char *word = card->nvlink;

    for (; *word && link; link--)
        word = strchr(word, ',') ? strchr(word, ',') + 1 : "";
    snprintf(address, size, "%.*s", (int)strcspn(word, ",-"), word);
    return *word;
}

API int nvmlDeviceGetNvLinkState(struct card *card, unsigned link, unsigned *state)
{
    char address[32];

    FAIL_IF_TOLD(card);
    if (!*card->nvlink)
        return NVML_ERROR_NOT_SUPPORTED;
    if (!far_end(card, link, address, sizeof address))
        return NVML_ERROR_INVALID_ARGUMENT;
    *state = *address != 0;
    return NVML_SUCCESS;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct card *card, unsigned link, struct pci_info *info)
{
    char address[32];

    FAIL_IF_TOLD(card);
    if (!far_end(card, link, address, sizeof address) || !*address)
        return NVML_ERROR_INVALID_ARGUMENT;
    memset(info, 0, sizeof *info);
    snprintf(info->legacy_id, sizeof info->legacy_id, "%.15s", address);
    snprintf(info->id, sizeof info->id, "0000%.27s", address);
    return NVML_SUCCESS;
}
