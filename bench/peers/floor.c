/* The floor: what the kernel alone costs. It understands nothing of what it carries, and so does less than any gateway
 * or cache could: two system calls for an answer from memory, four for a request and its response that it passes on.
 *
 *   floor PORT BACKEND_PORT relay      whatever a client sends goes to a connection of its own to the backend, and back
 *   floor PORT BACKEND_PORT remember   the first answer to each request line is fetched, every further one is that one
 *
 * For benchmarks on loopback and nothing else: a request is taken to arrive in one piece, an answer to carry a
 * Content-Length, and all requests with the same first line to be the same.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ROOM = 128 * 1024,            /* bytes on their way from one socket to another */
    LONGEST_REQUEST = 8 * 1024,
    LONGEST_ANSWER = 4 * 1024 * 1024,
    ANSWERS = 16,
    EVENTS = 512,
};

static const char HIT[] = "X-Cache-Status: Hit\r\n";

struct answer {
    char *line;                   /* of the request, with its end */
    size_t line_length;
    char *bytes;
    size_t length;
};

/* A socket, and what is to be sent to it: an answer, or what came from the other end. */
struct end {
    int fd;
    struct end *other;            /* NULL: it answers from memory */
    const char *pending;
    size_t left;
    char buffer[];
};

static int epoll;
static int backend_port;
static bool relays;
static struct answer answers[ANSWERS];
static int answer_count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void set_nodelay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int connect_to_backend(int flags) {
    struct sockaddr_in address = loopback(backend_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *) &address, sizeof address) < 0 && errno != EINPROGRESS))
        fail("backend");
    set_nodelay(fd);
    return fd;
}

/* --- remembering --- */

static size_t message_length(const char *bytes, size_t have) {
    const char *end = memmem(bytes, have, "\r\n\r\n", 4);
    const char *field = end ? strcasestr(bytes, "\ncontent-length:") : NULL;
    return end && field ? (size_t) (end + 4 - bytes) + strtoull(field + 16, NULL, 10) : 0;
}

/* The status line moves to the front of the room left before it, and HIT comes behind it. */
static struct answer *fetch(const char *request, size_t length, size_t line_length) {
    const size_t hit = sizeof HIT - 1;
    int fd = connect_to_backend(0);
    char *line = malloc(line_length), *bytes = malloc(LONGEST_ANSWER + hit + 1), *received = bytes + hit;
    size_t have = 0, wanted = 0;
    if (!line || !bytes || answer_count == ANSWERS || send(fd, request, length, MSG_NOSIGNAL) != (ssize_t) length)
        fail("fetch");
    while (!wanted || have < wanted) {
        ssize_t count = recv(fd, received + have, LONGEST_ANSWER - have, 0);
        if (count <= 0)
            fail("answer of the backend");
        have += (size_t) count;
        received[have] = 0;
        wanted = message_length(received, have);
    }
    close(fd);
    size_t status_line = (size_t) ((char *) memchr(received, '\n', have) + 1 - received);
    memmove(bytes, received, status_line);
    memcpy(bytes + status_line, HIT, hit);
    memcpy(line, request, line_length);
    struct answer *made = &answers[answer_count++];
    *made = (struct answer) {.line = line, .line_length = line_length, .bytes = bytes, .length = have + hit};
    return made;
}

static struct answer *find_answer(const char *request, size_t length) {
    const char *end = memchr(request, '\n', length);
    size_t line_length = end ? (size_t) (end + 1 - request) : length;
    for (int i = 0; i < answer_count; i++)
        if (answers[i].line_length == line_length && !memcmp(answers[i].line, request, line_length))
            return &answers[i];
    return fetch(request, length, line_length);
}

/* --- moving bytes; true while the connection lasts --- */

static bool send_pending(struct end *end) {
    while (end->left) {
        ssize_t count = send(end->fd, end->pending, end->left, MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN;
        end->pending += count;
        end->left -= (size_t) count;
    }
    return true;
}

static bool answer_requests(struct end *client) {
    for (;;) {
        if (!send_pending(client))
            return false;
        if (client->left)
            return true;
        ssize_t count = recv(client->fd, client->buffer, LONGEST_REQUEST, 0);
        if (count <= 0)
            return count < 0 && errno == EAGAIN;
        struct answer *answer = find_answer(client->buffer, (size_t) count);
        client->pending = answer->bytes;
        client->left = answer->length;
        if (!send_pending(client))
            return false;
        if (count < LONGEST_REQUEST)
            return true;                                 /* all that was there; the next event tells of more */
    }
}

static bool carry(struct end *from) {
    struct end *to = from->other;
    for (;;) {
        if (!send_pending(to))
            return false;
        if (to->left)
            return true;
        ssize_t count = recv(from->fd, to->buffer, ROOM, 0);
        if (count <= 0)
            return count < 0 && errno == EAGAIN;
        to->pending = to->buffer;
        to->left = (size_t) count;
        if (count < ROOM)
            return send_pending(to);
    }
}

/* --- connections --- */

static struct end *watch(int fd, size_t room) {
    struct end *made = calloc(1, sizeof *made + room);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = made};
    if (!made)
        fail("memory");
    made->fd = fd;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
    return made;
}

static void accept_client(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    set_nodelay(fd);
    struct end *client = watch(fd, relays ? ROOM : LONGEST_REQUEST);
    if (relays) {
        client->other = watch(connect_to_backend(SOCK_NONBLOCK), ROOM);
        client->other->other = client;
    }
}

/* Events of this round may still point here, so the memory stays: there are few connections. */
static void close_both(struct end *end) {
    struct end *other = end->other;
    close(end->fd);
    end->fd = -1;
    if (other && other->fd >= 0) {
        close(other->fd);
        other->fd = -1;
    }
}

static void serve_event(struct end *end, uint32_t events) {
    bool lasts = true;
    if (end->fd < 0)
        return;
    if (!end->other) {
        lasts = answer_requests(end);
    } else {
        if (end->left && events & EPOLLOUT)
            lasts = carry(end->other);                   /* there is room again for what the other end sends */
        if (lasts && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            lasts = carry(end);
    }
    if (!lasts)
        close_both(end);
}

int main(int count, char **arguments) {
    if (count != 4)
        return 2;
    backend_port = atoi(arguments[2]);
    relays = !strcmp(arguments[3], "relay");
    struct sockaddr_in address = loopback(atoi(arguments[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *) &address, sizeof address) || listen(listener, 4096))
        fail("listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve_event(events[i].data.ptr, events[i].events);
            else
                accept_client(listener);
        }
    }
}
