/* An engine that answers at once: as much of vLLM's HTTP as a gateway asks for, in one thread.

       upstream PORT          0 picks a free one; prints "listening PORT"

   Unary calls get one fixed answer. Streams are chosen by the model's name, which passes every gateway: `burst-32`
   sends 32 events in one write, `paced-20` sends 20 events a second, max_tokens of them. Each event carries its number
   and the time it was sent, as `#number@nanoseconds;` in its content, for the other end to check. */

#include "wire.h"

enum { MAX_CONNECTIONS = 1 << 16, MAX_BODY = 32 << 20, MAX_UNSENT = 8 << 20, MAX_EVENTS = 1 << 20, RANKS = 10 };

struct stream {
    bool is_on, is_chat, has_usage;
    char model[32];
    unsigned number, events;
    uint64_t interval_ns, due_ns; /* no interval: all in one burst */
};

struct connection {
    int fd;
    unsigned generation;
    struct bytes in, body_text, out;
    bool in_body, is_chat, is_post, closes, waits_to_write;
    char path[64];
    struct body body;
    struct stream stream;
};

struct due {
    uint64_t at_ns;
    int fd;
    unsigned generation;
};

static struct connection *connections[MAX_CONNECTIONS];
static unsigned generations;
static int epoll_fd;
static struct due *heap;
static size_t heap_size, heap_room;

/* --- when the next event of a paced stream is due --- */

static void heap_push(struct due one) {
    if (heap_size == heap_room) heap = grown(heap, (heap_room = heap_room * 2 + 1024) * sizeof *heap);
    size_t at = heap_size++;
    for (; at && heap[(at - 1) / 2].at_ns > one.at_ns; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = one;
}

static struct due heap_pop(void) {
    struct due first = heap[0], last = heap[--heap_size];
    size_t at = 0, child;
    for (; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && heap[child + 1].at_ns < heap[child].at_ns) child++;
        if (heap[child].at_ns >= last.at_ns) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

/* --- connections --- */

static void end(struct connection *c) {
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->in.at);
    free(c->body_text.at);
    free(c->out.at);
    free(c);
}

/* False if the connection is gone. */
static bool flush(struct connection *c) {
    size_t sent = 0;
    while (sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.at + sent, c->out.size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) return end(c), false;
        sent += (size_t)n;
    }
    if (sent) drop_front(&c->out, sent);
    if (c->out.size > MAX_UNSENT) {
        fprintf(stderr, "upstream: a reader is too slow, its connection is closed\n");
        return end(c), false;
    }
    bool waits = c->out.size > 0;
    if (waits != c->waits_to_write) {
        struct epoll_event event = {EPOLLIN | (waits ? EPOLLOUT : 0), {.fd = c->fd}};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->waits_to_write = waits;
    }
    if (!waits && c->closes && !c->stream.is_on) return end(c), false;
    return true;
}

/* --- answers --- */

static const char USAGE[] = "{\"prompt_tokens\":210,\"total_tokens\":242,\"completion_tokens\":32}";
static const char WORDS[] =
    "The store keeps one record an application. When its last call has ended, the cost that was measured replaces the "
    "one that was predicted, and the place in the order is settled. Nothing else of it is kept, so that memory is "
    "bounded by what is under way and not by what has been.";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"burst-32\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\",\"max_model_len\":32768},"
    "{\"id\":\"paced-20\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\",\"max_model_len\":32768}]}";

static void answer(struct connection *c, int status, const char *type, const char *text, size_t size) {
    const char *reason = status == 200 ? "OK" : status == 404 ? "Not Found" : "Bad Request";
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nserver: uvicorn\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n",
                     status, reason, type, size);
    append(&c->out, head, (size_t)n);
    append(&c->out, text, size);
}

/* Some ranks, as with data parallelism: a gateway that assumes 256 sequences a rank may hold 2,560 here. */
static void answer_metrics(struct connection *c) {
    struct bytes text = {0};
    char line[512];
#define SAY(...) append(&text, line, (size_t)snprintf(line, sizeof line, __VA_ARGS__))
    SAY("# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.7e9\n");
    SAY("# TYPE vllm:cache_config_info gauge\n");
    for (int rank = 0; rank < RANKS; rank++)
        SAY("vllm:cache_config_info{block_size=\"16\",engine=\"%d\",num_gpu_blocks=\"1000001\"} 1.0\n", rank);
    SAY("# TYPE vllm:kv_cache_usage_perc gauge\n");
    for (int rank = 0; rank < RANKS; rank++)
        SAY("vllm:kv_cache_usage_perc{engine=\"%d\",model_name=\"burst-32\"} 0.01\n", rank);
    SAY("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\",model_name=\"burst-32\"} 1.0\n");
    SAY("# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\",model_name=\"burst-32\"} 0.0\n");
    SAY("# TYPE vllm:num_preemptions_total counter\nvllm:num_preemptions_total{engine=\"0\",model_name=\"burst-32\"} 0.0\n");
#undef SAY
    answer(c, 200, "text/plain; version=0.0.4", text.at, text.size);
    free(text.at);
}

static void answer_unary(struct connection *c, const char *model) {
    char text[1024];
    const char *form =
        c->is_chat
            ? "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,"
              "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s}"
            : "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,"
              "\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s}";
    answer(c, 200, "application/json", text, (size_t)snprintf(text, sizeof text, form, model, WORDS, USAGE));
}

static void append_chunk(struct connection *c, const char *text, size_t size) {
    char head[16];
    append(&c->out, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", size));
    append(&c->out, text, size);
    append(&c->out, "\r\n", 2);
}

static void append_event(struct connection *c, uint64_t now) {
    struct stream *s = &c->stream;
    char text[512], finish[16];
    snprintf(finish, sizeof finish, s->number + 1 == s->events ? "\"stop\"" : "null");
    const char *form =
        s->is_chat
            ? "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s\","
              "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"#%u@%llu;\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n"
            : "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"%s\","
              "\"choices\":[{\"index\":0,\"text\":\"#%u@%llu;\",\"logprobs\":null,\"finish_reason\":%s}]}\n\n";
    int n = snprintf(text, sizeof text, form, s->model, s->number++, (unsigned long long)now, finish);
    append_chunk(c, text, (size_t)n);
    if (s->number < s->events) return;
    s->is_on = false;
    if (s->has_usage) {
        n = snprintf(text, sizeof text,
                     "data: {\"id\":\"chatcmpl-1\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"%s\",\"choices\":[],\"usage\":%s}\n\n",
                     s->is_chat ? "chat.completion.chunk" : "text_completion", s->model, USAGE);
        append_chunk(c, text, (size_t)n);
    }
    append_chunk(c, "data: [DONE]\n\n", 14);
    append(&c->out, "0\r\n\r\n", 5);
}

/* --- calls --- */

/* Where the value of a field begins, or NULL. Within a JSON string the quotes would be escaped, so a field it is. */
static const char *field(const struct bytes *text, const char *quoted) {
    const char *at = text->size ? memmem(text->at, text->size, quoted, strlen(quoted)) : NULL;
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ' ' || *at == ':') at++;
    return at;
}

static void call(struct connection *c) {
    append(&c->body_text, "", 1); /* a NUL, for the scans below */
    const char *model = field(&c->body_text, "\"model\""), *streams = field(&c->body_text, "\"stream\"");
    struct stream *s = &c->stream;
    *s = (struct stream){.is_chat = c->is_chat};
    int whole = 0;
    if (!model || sscanf(model, "\"%31[A-Za-z0-9-]\"%n", s->model, &whole) != 1 || !whole) {
        static const char error[] = "{\"error\":{\"message\":\"no model\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}";
        answer(c, 400, "application/json", error, sizeof error - 1);
        return;
    }
    if (!streams || strncmp(streams, "true", 4) != 0) {
        answer_unary(c, s->model);
        return;
    }
    const char *limit = field(&c->body_text, "\"max_tokens\""), *usage = field(&c->body_text, "\"include_usage\"");
    double rate = 0;
    s->events = 32;
    if (sscanf(s->model, "paced-%lf", &rate) == 1 && rate > 0) {
        s->interval_ns = (uint64_t)(1e9 / rate);
        s->events = limit ? (unsigned)atoi(limit) : 32;
    } else sscanf(s->model, "burst-%u", &s->events);
    if (s->events < 1 || s->events > MAX_EVENTS) s->events = 1;
    s->has_usage = usage && strncmp(usage, "true", 4) == 0;
    s->is_on = true;
    static const char head[] =
        "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    append(&c->out, head, sizeof head - 1);
    uint64_t now = now_ns();
    if (!s->interval_ns)
        while (s->is_on) append_event(c, now);
    else {
        s->due_ns = now;
        heap_push((struct due){s->due_ns, c->fd, c->generation});
    }
}

static void serve(struct connection *c) {
    bool is_call = strcmp(c->path, "/v1/chat/completions") == 0 || strcmp(c->path, "/v1/completions") == 0;
    c->is_chat = strcmp(c->path, "/v1/chat/completions") == 0;
    if (is_call && c->is_post) call(c);
    else if (strcmp(c->path, "/v1/models") == 0) answer(c, 200, "application/json", MODELS, sizeof MODELS - 1);
    else if (strcmp(c->path, "/metrics") == 0) answer_metrics(c);
    else if (strcmp(c->path, "/health") == 0) answer(c, 200, "text/plain", "", 0);
    else answer(c, 404, "application/json", "{\"detail\":\"Not Found\"}", 22);
}

static void keep_body(void *whose, const char *part, size_t size) { append(&((struct connection *)whose)->body_text, part, size); }

/* Every whole request that is here and whose turn it is. False if the connection is gone. */
static bool take_requests(struct connection *c) {
    while (!c->stream.is_on) {
        if (!c->in_body) {
            size_t size = head_size(&c->in);
            if (!size && c->in.size > MAX_HEAD) return end(c), false;
            if (!size) break;
            char method[16] = "", path[64] = "";
            c->in.at[size - 1] = 0;
            sscanf(c->in.at, "%15s %63[^ ?]", method, path);
            c->is_post = strcmp(method, "POST") == 0;
            strcpy(c->path, path);
            c->closes = says_close(c->in.at, size);
            c->body = body_of(c->in.at, size);
            c->body_text.size = 0;
            c->in_body = true;
            drop_front(&c->in, size);
        }
        drop_front(&c->in, take_body(&c->body, c->in.at, c->in.size, keep_body, c));
        if (c->body.framing == BROKEN || c->body_text.size > MAX_BODY) return end(c), false;
        if (c->body.framing != WHOLE) break;
        c->in_body = false;
        serve(c);
    }
    return flush(c);
}

static void read_from(struct connection *c) {
    for (;;) {
        ssize_t n = recv(c->fd, reserve(&c->in, READ_SIZE), READ_SIZE, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return end(c);
        c->in.size += (size_t)n;
        if (!take_requests(c) || n < READ_SIZE) return;
    }
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        no_delay(fd);
        struct connection *c = connections[fd] = grown(NULL, sizeof *c);
        *c = (struct connection){.fd = fd, .generation = ++generations};
        struct epoll_event event = {EPOLLIN, {.fd = fd}};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void send_what_is_due(void) {
    uint64_t now;
    while (heap_size && heap[0].at_ns <= (now = now_ns())) {
        struct due due = heap_pop();
        struct connection *c = connections[due.fd];
        if (!c || c->generation != due.generation || !c->stream.is_on) continue;
        append_event(c, now);
        if (c->stream.is_on) {
            c->stream.due_ns += c->stream.interval_ns;
            heap_push((struct due){c->stream.due_ns, c->fd, c->generation});
            flush(c);
        } else take_requests(c);
    }
}

static int listen_on(unsigned short port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) die("listen");
    socklen_t size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((unsigned short)atoi(argv[1]));
    struct epoll_event events[512], event = {EPOLLIN, {.fd = listener}};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        if (heap_size) wait_until(epoll_fd, heap[0].at_ns);
        int n = epoll_wait(epoll_fd, events, 512, heap_size ? 0 : -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.fd == listener ? NULL : connections[events[i].data.fd];
            if (events[i].data.fd == listener) accept_all(listener);
            else if (c && (events[i].events & EPOLLOUT) && !flush(c)) continue;
            else if (c && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) read_from(c);
        }
        send_what_is_due();
    }
}
