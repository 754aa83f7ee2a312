/* A cable between two network interfaces that loses, delays and cuts, told so in lines on its standard input:
   `LOSS DELAY`, percent and milliseconds; a loss of 100 is a cut. It makes the interfaces, whose names are its arguments, prints
   a line, and lasts until its input ends. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FRAMES 8192
#define MOST 2048

struct frame {
    int64_t due;
    ssize_t length;
    unsigned char bytes[MOST];
};

/* What is on its way to one end, in order. */
struct lane {
    int out;
    unsigned first, count;
    struct frame frames[FRAMES];
};

static struct lane lanes[2];
static uint64_t chance = 0x9e3779b97f4a7c15u;

static unsigned below(unsigned end) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (unsigned)(chance >> 33) % end;
}

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static int end_of(const char *name) {
    struct ifreq wanted;
    int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return -1;
    memset(&wanted, 0, sizeof wanted);
    wanted.ifr_flags = IFF_TAP | IFF_NO_PI;
    strncpy(wanted.ifr_name, name, IFNAMSIZ - 1);
    return ioctl(file, TUNSETIFF, &wanted) < 0 ? -1 : file;
}

int main(int count, char **names) {
    int ends[2], loss = 0, delay = 0;
    if (count != 3) return 2;
    for (int n = 0; n < 2; n++)
        if ((ends[n] = end_of(names[n + 1])) < 0) {
            perror("no interface");
            return 1;
        }
    lanes[0].out = ends[1];
    lanes[1].out = ends[0];
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t at = now(), wait = -1;
        for (int n = 0; n < 2; n++) {
            struct lane *lane = &lanes[n];
            for (; lane->count; lane->count--, lane->first = (lane->first + 1) % FRAMES) {
                struct frame *frame = &lane->frames[lane->first];
                if (frame->due > at) {
                    if (wait < 0 || frame->due - at < wait) wait = frame->due - at;
                    break;
                }
                /* An interface that is down, or whose queue is full, loses it. */
                if (write(lane->out, frame->bytes, (size_t)frame->length) < 0) continue;
            }
        }
        struct pollfd ready[3] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}, {0, POLLIN, 0}};
        poll(ready, 3, (int)wait);
        for (int n = 0; n < 2; n++) {
            struct lane *lane = &lanes[n];
            unsigned char bytes[MOST];
            ssize_t length;
            while ((length = read(ends[n], bytes, MOST)) > 0) {
                if ((int)below(100) < loss || lane->count == FRAMES) continue;
                struct frame *frame = &lane->frames[(lane->first + lane->count++) % FRAMES];
                frame->due = now() + delay;
                frame->length = length;
                memcpy(frame->bytes, bytes, (size_t)length);
            }
        }
        if (ready[2].revents) {
            char text[64];
            ssize_t length = read(0, text, sizeof text - 1);
            if (length <= 0) return 0;
            text[length] = 0;
            if (sscanf(text, "%d %d", &loss, &delay) != 2) return 2;
        }
    }
}
