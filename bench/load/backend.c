/* Fake model server for the bench: reads each request whole (Content-Length or chunked) and answers at once.
 * Usage: backend PORT TAG. One thread, epoll. POSTs to /v1/records and /v1/sightings are answered as the ledger would. */
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
#include <unistd.h>

enum { HEAD = 32768, CHUNK = 262144 };
struct conn { int fd; int in_body; int chunked; int closing; int ledger; long left; int matched; int used; char head[HEAD]; };

static char model_answer[1024], ledger_answer[512];
static const char *END = "\r\n0\r\n\r\n";

static char *field(char *head, const char *name) {
    char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

static int answer(struct conn *c) {
    const char *text = c->ledger ? ledger_answer : model_answer;
    size_t n = strlen(text);
    return send(c->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n && !c->closing ? 0 : -1;
}

/* Consumes n bytes of body; returns how many belong to this request, and sets *done. */
static int body(struct conn *c, const char *p, int n, int *done) {
    *done = 0;
    if (!c->chunked) {
        int take = n < c->left ? n : (int)c->left;
        c->left -= take;
        *done = c->left == 0;
        return take;
    }
    for (int i = 0; i < n; i++) { /* the last chunk: CRLF 0 CRLF CRLF; a body of ours never holds that */
        c->matched = p[i] == END[c->matched] ? c->matched + 1 : (p[i] == '\r' ? 1 : 0);
        if (c->matched == 7) { c->matched = 0; *done = 1; return i + 1; }
    }
    return n;
}

static int readable(struct conn *c) {
    static char buffer[CHUNK];
    for (;;) {
        int n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        char *p = buffer;
        while (n > 0) {
            if (c->in_body) {
                int done, took = body(c, p, n, &done);
                p += took; n -= took;
                if (done) { c->in_body = 0; if (answer(c)) return -1; }
                continue;
            }
            int room = HEAD - 1 - c->used, take = n < room ? n : room;
            if (take == 0) return -1;
            memcpy(c->head + c->used, p, take);
            c->head[c->used + take] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) { c->used += take; p += take; n -= take; continue; }
            int head_bytes = (int)(end + 4 - c->head) - c->used;
            end[2] = 0;
            p += head_bytes; n -= head_bytes; c->used = 0;
            char *length = field(c->head, "\r\ncontent-length:");
            c->chunked = strcasestr(c->head, "\r\ntransfer-encoding: chunked") != NULL;
            c->closing = strcasestr(c->head, "\r\nconnection: close") != NULL;
            c->ledger = strncmp(c->head, "POST /v1/records", 16) == 0 || strncmp(c->head, "POST /v1/sightings", 18) == 0;
            c->left = length ? atol(length) : 0;
            c->matched = 2; /* the head's own CRLF counts: an empty chunked body is 0 CRLF CRLF */
            c->in_body = c->chunked || c->left > 0;
            if (strcasestr(c->head, "\r\nexpect: 100")) send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
            if (!c->in_body && answer(c)) return -1;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    const char *HEADERS = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-insource-outcome: ok\r\ncontent-length: %zu\r\n\r\n%s";
    char text[512];
    snprintf(text, sizeof text, "{\"text\":\"%s he was not an ill disposed young man\",\"usage\":{\"type\":\"duration\",\"seconds\":1}}", argv[2]);
    snprintf(model_answer, sizeof model_answer, HEADERS, strlen(text), text);
    const char *ingested = "{\"accepted\":0,\"duplicates\":0,\"conflicts\":[]}";
    snprintf(ledger_answer, sizeof ledger_answer, HEADERS, strlen(ingested), ingested);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 1024)) { perror("backend"); return 1; }
    socklen_t size = sizeof at;
    getsockname(listener, (void *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    c = calloc(1, sizeof *c);
                    c->fd = fd;
                    event.events = EPOLLIN;
                    event.data.ptr = c;
                    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                }
            } else if (readable(c)) { close(c->fd); free(c); }
        }
    }
}
