/* What both ends of the benchmark share: clocks, sockets, growing bytes, heads and chunked bodies of HTTP/1.1. */

#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HEAD = 64 << 10, READ_SIZE = 64 << 10 };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) die("realloc");
    return memory;
}

struct bytes {
    char *at;
    size_t size, room;
};

static inline char *reserve(struct bytes *b, size_t more) {
    if (b->size + more > b->room) {
        b->room = (b->size + more) * 2;
        b->at = grown(b->at, b->room);
    }
    return b->at + b->size;
}

static inline void append(struct bytes *b, const char *from, size_t size) {
    memcpy(reserve(b, size), from, size);
    b->size += size;
}

static inline void drop_front(struct bytes *b, size_t size) {
    memmove(b->at, b->at + size, b->size - size);
    b->size -= size;
}

static inline void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Thousands of streams are thousands of files. */
static inline void allow_many_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Until something happens or the time has come; epoll's own timeout is too coarse, at a millisecond. */
static inline void wait_until(int epoll, uint64_t due_ns) {
    uint64_t now = now_ns();
    if (due_ns <= now) return;
    struct timespec left = {(time_t)((due_ns - now) / 1000000000u), (long)((due_ns - now) % 1000000000u)};
    struct pollfd one = {epoll, POLLIN, 0};
    ppoll(&one, 1, &left, NULL);
}

/* The size of the head with its empty line; 0 while it is not all there. */
static inline size_t head_size(const struct bytes *b) {
    const char *end = b->size ? memmem(b->at, b->size, "\r\n\r\n", 4) : NULL;
    return end ? (size_t)(end - b->at) + 4 : 0;
}

/* The value of a header within a head, or NULL; `name` ends in its colon. */
static inline const char *header(const char *head, size_t size, const char *name) {
    size_t length = strlen(name);
    const char *end = head + size, *line = memchr(head, '\n', size);
    while (line && ++line + length < end) {
        if (strncasecmp(line, name, length) == 0) {
            line += length;
            while (*line == ' ' || *line == '\t') line++;
            return line;
        }
        line = memchr(line, '\n', (size_t)(end - line));
    }
    return NULL;
}

static inline bool is_chunked(const char *head, size_t size) {
    const char *value = header(head, size, "transfer-encoding:");
    return value && strncasecmp(value, "chunked", 7) == 0;
}

static inline bool says_close(const char *head, size_t size) {
    const char *value = header(head, size, "connection:");
    return value && strncasecmp(value, "close", 5) == 0;
}

/* A body as it arrives, of either framing. `left` counts what is still to come of the body or of the chunk. */
enum framing { SIZED, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK, CHUNK_END, TRAILER, TRAILER_LINE, WHOLE, BROKEN };

struct body {
    enum framing framing;
    uint64_t left;
};

static inline struct body body_of(const char *head, size_t size) {
    if (is_chunked(head, size)) return (struct body){CHUNK_SIZE, 0};
    const char *value = header(head, size, "content-length:");
    uint64_t left = value ? strtoull(value, NULL, 10) : 0;
    return (struct body){left ? SIZED : WHOLE, left};
}

static inline int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte between chunks: sizes, line ends, trailers. */
static inline void between_chunks(struct body *b, char c) {
    switch (b->framing) {
    case CHUNK_SIZE:
        if (c == '\n') b->framing = b->left ? CHUNK : TRAILER;
        else if (c == ';' || c == ' ') b->framing = CHUNK_EXTENSION;
        else if (c != '\r') {
            int digit = hex_digit(c);
            if (digit < 0 || b->left >> 40) b->framing = BROKEN;
            else b->left = b->left << 4 | (unsigned)digit;
        }
        break;
    case CHUNK_EXTENSION:
        if (c == '\n') b->framing = b->left ? CHUNK : TRAILER;
        break;
    case CHUNK_END:
        if (c == '\n') b->framing = CHUNK_SIZE;
        else if (c != '\r') b->framing = BROKEN;
        break;
    case TRAILER:
        if (c == '\n') b->framing = WHOLE;
        else if (c != '\r') b->framing = TRAILER_LINE;
        break;
    default:
        if (c == '\n') b->framing = TRAILER;
    }
}

/* Takes what belongs to the body and gives its payload to `sink`; returns how many bytes that were. */
static inline size_t take_body(struct body *b, const char *in, size_t size, void (*sink)(void *, const char *, size_t),
                               void *whose) {
    size_t at = 0;
    while (at < size && b->framing != WHOLE && b->framing != BROKEN) {
        if (b->framing != SIZED && b->framing != CHUNK) {
            between_chunks(b, in[at++]);
            continue;
        }
        size_t part = size - at < b->left ? size - at : (size_t)b->left;
        sink(whose, in + at, part);
        at += part;
        b->left -= part;
        if (!b->left) b->framing = b->framing == SIZED ? WHOLE : CHUNK_END;
    }
    return at;
}

#endif
