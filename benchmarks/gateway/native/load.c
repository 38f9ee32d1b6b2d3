/* The clients of the benchmark, in one thread: calls back to back, calls at a rate, or streams held open.

       load --port P --request FILE [--connections 32] [--warmup S] [--seconds S]
            [--rate R]       open loop: Poisson arrivals, R a second; latency counts from when a call was due
            [--events N]     every answer must be a stream of N events, all there and in order
            [--hold]         each connection holds one stream; they begin one by one during the warm-up
            [--calls N]      stop after N calls, saying `{"calls": …}` at every --report of them
            [--reuse K]      `a-name-of-ours` in the request becomes a name that K calls of a connection share
            [--names-from M] their first number

   Prints `{"at": "begin"}` and `{"at": "end"}` as the measured time begins and ends, then one object with what was
   seen. Done counts what ends within the measured time, at a rate what was due in it; errors count at any time. */

#include "wire.h"

#include <getopt.h>
#include <math.h>

static const char NAME[] = "a-name-of-ours";
static const double GRACE_S = 15.0;   /* for what is under way when the time is over */
static const uint64_t SPIN_NS = 150000; /* awake before a call is due, or waking up is what is measured */
enum { MAX_BREAKS = 100000, NUM_STATUSES = 600 };

enum state { CLOSED, IDLE, HEAD, BODY };

struct connection {
    int fd;
    enum state state;
    struct bytes in;
    size_t sent;
    char *request;
    struct body body;
    bool closes, is_ok, waits_to_write;
    uint64_t began_ns;
    unsigned calls;
    /* of a stream */
    unsigned next_event, done_matched;
    int mark;
    uint64_t number, stamp_ns;
    bool has_done;
};

static struct {
    int port, connections, events, hold, reuse;
    double warmup_s, seconds, rate;
    uint64_t calls, report, names_from;
    const char *request;
} options = {.connections = 32, .seconds = 5, .report = 10000};

static struct {
    uint64_t calls, ended, broken, reconnects, lost, reordered, unfinished, malformed, events, unanswered, outstanding;
    uint64_t statuses[NUM_STATUSES];
} seen;

static char *request;
static size_t request_size, name_at;
static bool has_name;
static struct connection *connections;
static int *idle, num_idle;
static int epoll_fd;
static uint64_t start_ns, begin_ns, end_ns, deadline_ns, due_ns, sent_calls;
static bool has_begun, has_ended;
static uint32_t *samples; /* in 100 ns */
static size_t num_samples, room_samples;

static void sample(uint64_t ns) {
    if (num_samples == room_samples) samples = grown(samples, (room_samples = room_samples * 2 + 65536) * sizeof *samples);
    uint64_t units = ns / 100;
    samples[num_samples++] = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static bool in_window(uint64_t now) { return now >= begin_ns && now < end_ns; }

/* --- one connection --- */

static void reconnect(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (c->fd > 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    no_delay(c->fd);
    struct epoll_event event = {EPOLLIN, {.u32 = (uint32_t)(c - connections)}};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    c->in.size = 0;
    c->waits_to_write = false;
    c->state = IDLE;
}

static void send_rest(struct connection *c) {
    while (c->sent < request_size) {
        ssize_t n = send(c->fd, c->request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break; /* full, or gone, which the read will tell */
        c->sent += (size_t)n;
    }
    bool waits = c->sent < request_size;
    if (waits == c->waits_to_write) return;
    struct epoll_event event = {EPOLLIN | (waits ? EPOLLOUT : 0), {.u32 = (uint32_t)(c - connections)}};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->waits_to_write = waits;
}

static void begin_call(struct connection *c, uint64_t from_ns) {
    if (c->state == CLOSED) reconnect(c);
    if (has_name) {
        char name[32];
        uint64_t number = options.names_from + c->calls / (unsigned)options.reuse;
        snprintf(name, sizeof name, "a%05u-%07llu", (unsigned)(c - connections) % 100000u, (unsigned long long)(number % 10000000u));
        memcpy(c->request + name_at, name, sizeof NAME - 1);
    }
    c->calls++;
    sent_calls++;
    c->began_ns = from_ns;
    c->state = HEAD;
    c->sent = 0;
    c->next_event = c->done_matched = 0;
    c->mark = 0;
    c->has_done = false;
    send_rest(c);
}

/* Every event says `#number@nanoseconds;`, however a gateway cuts or rewrites what is around it. */
static void event_seen(struct connection *c) {
    uint64_t now = now_ns();
    seen.events += in_window(now);
    if (c->number > c->next_event) seen.lost += c->number - c->next_event;
    if (c->number < c->next_event) seen.reordered++;
    else c->next_event = (unsigned)c->number + 1;
    if (options.hold && in_window(now)) sample(now > c->stamp_ns ? now - c->stamp_ns : 0);
}

static void scan(void *whose, const char *part, size_t size) {
    static const char DONE[] = "[DONE]";
    struct connection *c = whose;
    if (!options.events) return;
    for (size_t i = 0; i < size; i++) {
        char b = part[i];
        if (b == '#') c->mark = 1, c->number = 0, c->stamp_ns = 0;
        else if (c->mark && b >= '0' && b <= '9') {
            uint64_t *into = c->mark == 1 ? &c->number : &c->stamp_ns;
            *into = *into * 10 + (uint64_t)(b - '0');
        } else if (c->mark == 1 && b == '@') c->mark = 2;
        else if (c->mark) {
            if (c->mark == 2 && b == ';') event_seen(c);
            c->mark = 0;
        }
        c->done_matched = b == DONE[c->done_matched] ? c->done_matched + 1 : b == DONE[0];
        if (c->done_matched == sizeof DONE - 1) c->has_done = true, c->done_matched = 0;
    }
}

static void judge_stream(struct connection *c) {
    if ((int)c->next_event < options.events) seen.lost += (unsigned)options.events - c->next_event;
    if (!c->has_done) seen.unfinished++;
}

static void call_ended(struct connection *c) {
    uint64_t now = now_ns();
    if (options.events && c->is_ok) judge_stream(c);
    /* At a rate it counts when a call was due: those that come late are the ones that matter. */
    if (c->is_ok && in_window(options.rate ? c->began_ns : now)) {
        seen.calls++;
        if (!options.hold) sample(now - c->began_ns);
    }
    seen.ended++;
    if (options.calls && seen.ended % options.report == 0) {
        printf("{\"calls\": %llu, \"seconds\": %.3f}\n", (unsigned long long)seen.ended, (double)(now - start_ns) / 1e9);
        fflush(stdout);
    }
    if (c->closes) {
        seen.reconnects++;
        close(c->fd);
        c->fd = 0;
    }
    c->state = c->fd ? IDLE : CLOSED;
    bool goes_on = !options.rate && !options.hold && !has_ended && now < end_ns && !(options.calls && sent_calls >= options.calls);
    if (goes_on) begin_call(c, now);
    else if (!options.hold) idle[num_idle++] = (int)(c - connections);
}

static void broke(struct connection *c) {
    bool was_busy = c->state == HEAD || c->state == BODY;
    close(c->fd);
    c->fd = 0;
    c->state = CLOSED;
    c->in.size = 0;
    if (!was_busy) {
        seen.reconnects++;
        return;
    }
    if (++seen.broken > MAX_BREAKS) fprintf(stderr, "load: too many broken connections\n"), exit(1);
    c->is_ok = false;
    c->closes = false;
    call_ended(c);
}

static bool take_head(struct connection *c) {
    size_t size = head_size(&c->in);
    if (!size) return c->in.size > MAX_HEAD ? (broke(c), false) : false;
    int status = 0;
    c->in.at[size - 1] = 0;
    if (sscanf(c->in.at, "HTTP/1.%*d %d", &status) != 1 || status < 100 || status >= NUM_STATUSES) return broke(c), false;
    seen.statuses[status]++;
    c->is_ok = status == 200;
    c->closes = says_close(c->in.at, size);
    c->body = body_of(c->in.at, size);
    if (options.events && c->is_ok && !header(c->in.at, size, "transfer-encoding:")) seen.malformed++;
    drop_front(&c->in, size);
    c->state = BODY;
    return true;
}

static void read_from(struct connection *c) {
    for (;;) {
        ssize_t n = recv(c->fd, reserve(&c->in, READ_SIZE), READ_SIZE, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return broke(c);
        c->in.size += (size_t)n;
        if (c->state == HEAD && !take_head(c)) return;
        if (c->state != BODY) return broke(c); /* an answer that nobody asked for */
        drop_front(&c->in, take_body(&c->body, c->in.at, c->in.size, scan, c));
        if (c->body.framing == BROKEN) return broke(c);
        if (c->body.framing == WHOLE) return call_ended(c);
        if (n < READ_SIZE) return;
    }
}

/* --- when calls begin --- */

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static double uniform(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return ((double)(random_state >> 11) + 1) / 9007199254740993.0;
}

/* What is due begins; the others wait for a free connection, and their latency counts from when they were due. */
static void begin_what_is_due(void) {
    while (num_idle && due_ns < end_ns && due_ns <= now_ns()) {
        begin_call(&connections[idle[--num_idle]], due_ns);
        due_ns += (uint64_t)(-log(uniform()) / options.rate * 1e9);
    }
}

static void begin_held(void) {
    static int begun;
    while (begun < options.connections && now_ns() >= start_ns + (begin_ns - start_ns) * (uint64_t)begun / (uint64_t)options.connections)
        begin_call(&connections[begun], now_ns()), begun++;
    due_ns = begun < options.connections ? start_ns + (begin_ns - start_ns) * (uint64_t)begun / (uint64_t)options.connections : UINT64_MAX;
}

static bool is_over(void) {
    uint64_t now = now_ns();
    if (!has_begun && now >= begin_ns) has_begun = true, printf("{\"at\": \"begin\"}\n"), fflush(stdout);
    bool all_called = options.calls && seen.ended >= options.calls;
    if (!has_ended && (now >= end_ns || all_called)) {
        has_ended = true;
        if (now < end_ns) end_ns = now;
        deadline_ns = end_ns + (uint64_t)(GRACE_S * 1e9);
        printf("{\"at\": \"end\"}\n");
        fflush(stdout);
    }
    if (!has_ended) return false;
    for (int i = 0; i < options.connections; i++)
        if (connections[i].state == HEAD || connections[i].state == BODY) return now >= deadline_ns;
    return true;
}

static void count_what_is_left(void) {
    for (int i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        if (c->state != HEAD && c->state != BODY) continue;
        seen.unanswered++;
        if (options.events && (int)c->next_event < options.events) seen.outstanding += (unsigned)options.events - c->next_event;
    }
    for (; options.rate && due_ns < end_ns; seen.unanswered++) due_ns += (uint64_t)(-log(uniform()) / options.rate * 1e9);
}

static void run(void) {
    struct epoll_event events[512];
    if (!options.rate && !options.hold)
        for (int i = 0; i < options.connections; i++) begin_call(&connections[i], now_ns());
    else
        for (int i = options.connections; i--;) idle[num_idle++] = i;
    while (!is_over()) {
        uint64_t now = now_ns(), next = has_ended ? deadline_ns : has_begun ? end_ns : begin_ns;
        bool has_due = options.rate ? num_idle && due_ns < end_ns : options.hold && due_ns < next;
        if (has_due && due_ns < next) next = due_ns > SPIN_NS ? due_ns - SPIN_NS : 0;
        if (options.rate || options.hold) wait_until(epoll_fd, next);
        int timeout_ms = options.rate || options.hold || next <= now ? 0 : (int)((next - now) / 1000000u) + 1;
        int n = epoll_wait(epoll_fd, events, 512, timeout_ms);
        for (int i = 0; i < n; i++) {
            struct connection *c = &connections[events[i].data.u32];
            if (c->state == CLOSED) continue;
            if (events[i].events & EPOLLOUT) send_rest(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(c);
        }
        if (options.rate) begin_what_is_due();
        if (options.hold) begin_held();
    }
    count_what_is_left();
}

/* --- what was seen --- */

static int compared(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_ms(double share) {
    return num_samples ? samples[(size_t)(share * (double)(num_samples - 1))] / 1e4 : 0;
}

static void print_seen(void) {
    uint64_t refused = 0;
    for (int i = 0; i < NUM_STATUSES; i++) refused += i == 200 ? 0 : seen.statuses[i];
    double sum = 0;
    qsort(samples, num_samples, sizeof *samples, compared);
    for (size_t i = 0; i < num_samples; i++) sum += samples[i] / 1e4;
    printf("{\"calls\": %llu, \"ended\": %llu, \"seconds\": %.3f, \"events\": %llu, ", (unsigned long long)seen.calls,
           (unsigned long long)seen.ended, (double)(end_ns - begin_ns) / 1e9, (unsigned long long)seen.events);
    printf("\"refused\": %llu, \"broken\": %llu, \"reconnects\": %llu, \"unanswered\": %llu, ", (unsigned long long)refused,
           (unsigned long long)seen.broken, (unsigned long long)seen.reconnects, (unsigned long long)seen.unanswered);
    printf("\"lost_events\": %llu, \"reordered_events\": %llu, \"outstanding_events\": %llu, ", (unsigned long long)seen.lost,
           (unsigned long long)seen.reordered, (unsigned long long)seen.outstanding);
    printf("\"unfinished_streams\": %llu, \"not_streamed\": %llu, \"statuses\": {", (unsigned long long)seen.unfinished,
           (unsigned long long)seen.malformed);
    const char *comma = "";
    for (int i = 0; i < NUM_STATUSES; i++)
        if (seen.statuses[i]) printf("%s\"%d\": %llu", comma, i, (unsigned long long)seen.statuses[i]), comma = ", ";
    printf("}, \"samples\": %zu, \"mean_ms\": %.4f, \"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
           num_samples, num_samples ? sum / (double)num_samples : 0, quantile_ms(0.5), quantile_ms(0.9), quantile_ms(0.99),
           quantile_ms(0.999), quantile_ms(1));
}

/* --- start --- */

static void read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},  {"request", 1, 0, 'q'}, {"connections", 1, 0, 'c'}, {"warmup", 1, 0, 'w'}, {"seconds", 1, 0, 's'},
        {"rate", 1, 0, 'r'},  {"events", 1, 0, 'e'},  {"hold", 0, 0, 'h'},        {"calls", 1, 0, 'n'},  {"report", 1, 0, 'k'},
        {"reuse", 1, 0, 'u'}, {"names-from", 1, 0, 'm'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (o) {
        case 'p': options.port = atoi(optarg); break;
        case 'q': options.request = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 'w': options.warmup_s = atof(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'e': options.events = atoi(optarg); break;
        case 'h': options.hold = 1; break;
        case 'n': options.calls = strtoull(optarg, NULL, 10); break;
        case 'k': options.report = strtoull(optarg, NULL, 10); break;
        case 'u': options.reuse = atoi(optarg); break;
        case 'm': options.names_from = strtoull(optarg, NULL, 10); break;
        default: exit(2);
        }
    if (!options.port || !options.request || options.connections < 1 || !options.report)
        fprintf(stderr, "load: --port, --request and at least one connection are needed\n"), exit(2);
    if (options.reuse < 1) options.reuse = 1;
}

static void read_request(void) {
    struct bytes text = {0};
    FILE *file = fopen(options.request, "rb");
    if (!file) die(options.request);
    for (size_t n; (n = fread(reserve(&text, 4096), 1, 4096, file)) > 0;) text.size += n;
    fclose(file);
    request = text.at;
    request_size = text.size;
    const char *at = memmem(request, request_size, NAME, sizeof NAME - 1);
    has_name = at != NULL;
    name_at = has_name ? (size_t)(at - request) : 0;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    read_request();
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)options.connections, sizeof *connections);
    idle = calloc((size_t)options.connections, sizeof *idle);
    if (!connections || !idle) die("calloc");
    for (int i = 0; i < options.connections; i++) {
        connections[i].request = memcpy(grown(NULL, request_size), request, request_size);
        if (!options.hold) reconnect(&connections[i]);
    }
    due_ns = start_ns = now_ns();
    begin_ns = start_ns + (uint64_t)(options.warmup_s * 1e9);
    end_ns = begin_ns + (uint64_t)(options.seconds * 1e9);
    run();
    print_seen();
}
