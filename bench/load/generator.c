/* Load generator for the bench: one request file, over and over, on keep-alive connections. One thread, epoll.
 * Usage: generator PORT REQUEST_FILE CONNECTIONS SECONDS RATE. RATE 0: closed loop, each connection as fast as it can.
 * Else requests per second in an open loop, and latency counts from when a request should have been sent.
 * Prints one JSON object: requests, errors, seconds, p50_us, p99_us. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 65536, MOST = 4000000 };
struct conn { int fd; int busy; size_t sent; int used; double due; char in[BUFFER]; };

static char *request; static size_t request_bytes;
static int port, poll_fd; static long finished, errors; static float *latency;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

static void dial(struct conn *c) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&at, sizeof at)) { perror("generator: connect"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->busy = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void redial(struct conn *c) { if (c->busy) errors++; close(c->fd); dial(c); }

static int push(struct conn *c) {
    while (c->busy && c->sent < request_bytes) {
        ssize_t n = send(c->fd, request + c->sent, request_bytes - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->sent += n;
    }
    return 0;
}

static void begin(struct conn *c, double due) {
    c->busy = 1; c->sent = 0; c->used = 0; c->due = due;
    if (push(c)) redial(c);
}

/* 1: the answer is whole; 0: not yet; -1: the connection is over. */
static int pull(struct conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->used, BUFFER - 1 - c->used, MSG_DONTWAIT);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        c->used += n;
        c->in[c->used] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) continue;
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        int whole;
        if (length && length < end) whole = c->used >= (end + 4 - c->in) + atol(length + 17);
        else whole = c->used >= 5 && memcmp(c->in + c->used - 5, "0\r\n\r\n", 5) == 0;
        if (whole) return 1;
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    signal(SIGPIPE, SIG_IGN);
    FILE *file = fopen(argv[2], "rb");
    if (!file) { perror(argv[2]); return 1; }
    fseek(file, 0, SEEK_END);
    request_bytes = ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (fread(request, 1, request_bytes, file) != request_bytes) return 1;
    port = atoi(argv[1]);
    int connections = atoi(argv[3]);
    double seconds = atof(argv[4]), rate = atof(argv[5]);
    latency = malloc(sizeof *latency * MOST);
    poll_fd = epoll_create1(0);
    struct conn *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) dial(&all[i]);
    double start = now(), stop = start + seconds;
    long issued = 0;
    struct epoll_event events[256];
    for (;;) {
        double at = now();
        int busy = 0;
        for (int i = 0; i < connections; i++) {
            struct conn *c = &all[i];
            if (!c->busy && at < stop) {
                double due = rate > 0 ? start + issued / rate : at;
                if (due <= at) { issued++; begin(c, due); }
            }
            busy += c->busy;
        }
        if (at >= stop && (!busy || at > stop + 20)) break;
        int n = epoll_wait(poll_fd, events, 256, rate > 0 ? 0 : 50);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (push(c)) { redial(c); continue; }
            int state = pull(c);
            if (state < 0) { redial(c); continue; }
            if (state && c->busy) {
                if (strncmp(c->in, "HTTP/1.1 200", 12)) { if (!errors) fprintf(stderr, "%.300s\n", c->in); errors++; }
                else if (finished < MOST) latency[finished++] = (float)((now() - c->due) * 1e6);
                c->busy = 0;
            }
        }
    }
    double took = now() - start;
    qsort(latency, finished, sizeof *latency, ascending);
    printf("{\"requests\":%ld,\"errors\":%ld,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", finished, errors, took,
           finished ? latency[finished / 2] : 0, finished ? latency[(long)(finished * 0.99)] : 0);
    return 0;
}
