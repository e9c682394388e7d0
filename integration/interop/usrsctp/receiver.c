/* An independent receiver of docs/dtls-uplink.md: OpenSSL and usrsctp, and
 * nothing of ours. It takes one gateway, writes each message to its standard
 * output, length first (4 bytes, big-endian), and acknowledges it then.
 *
 *   receiver PORT CERTIFICATE KEY AUTHORITY
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <usrsctp.h>

#define VERSION "fieldseal dtls 1"
#define MAX_FRAME (128 << 10)

static SSL *ssl;
static struct socket *sock;
static sctp_assoc_t association;
static uint8_t frame[MAX_FRAME];
static size_t have;       /* of frame */
static uint64_t expected; /* number of the next message; 0: there was no hello */

static void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* CBOR, docs/dtls-uplink.md, section 2. */

struct reader {
	const uint8_t *at, *end;
	int bad;
};

static uint64_t head(struct reader *r, int major)
{
	uint64_t n = 0, least[] = {24, 1 << 8, 1 << 16, 1ull << 32};
	int info, size;
	if (r->bad || r->at == r->end || *r->at >> 5 != major) {
		r->bad = 1;
		return 0;
	}
	info = *r->at++ & 31;
	if (info < 24)
		return info;
	size = 1 << (info - 24);
	if (info > 27 || r->end - r->at < size) {
		r->bad = 1;
		return 0;
	}
	for (int i = 0; i < size; i++)
		n = n << 8 | *r->at++;
	if (n < least[info - 24])
		r->bad = 1;
	return n;
}

static size_t put_head(uint8_t *b, int major, uint64_t n)
{
	int size = n < 24 ? 0 : n < 1 << 8 ? 1 : n < 1 << 16 ? 2 : n < 1ull << 32 ? 4 : 8;
	b[0] = major << 5 | (size == 0 ? n : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27);
	for (int i = 0; i < size; i++)
		b[1 + i] = n >> 8 * (size - 1 - i);
	return 1 + size;
}

static size_t put_text(uint8_t *b, const char *s)
{
	size_t n = put_head(b, 3, strlen(s));
	memcpy(b + n, s, strlen(s));
	return n + strlen(s);
}

/* say sends a word on stream 2. */
static void say(const uint8_t *b, size_t n)
{
	struct sctp_sndinfo to = {.snd_sid = 2, .snd_assoc_id = association};
	if (usrsctp_sendv(sock, b, n, NULL, 0, &to, sizeof to, SCTP_SENDV_SNDINFO, 0) < 0)
		die("cannot answer");
}

static void welcome(struct reader *r)
{
	uint8_t b[256];
	size_t n;
	if (head(r, 4) != 3 || head(r, 3) != strlen(VERSION) || r->end - r->at < (ptrdiff_t)strlen(VERSION) ||
	    memcmp(r->at, VERSION, strlen(VERSION)) != 0) {
		fprintf(stderr, "no hello\n");
		exit(1);
	}
	r->at += strlen(VERSION);
	uint64_t name = head(r, 3);
	if (r->bad || name > 256 || name > (uint64_t)(r->end - r->at))
		exit(1);
	fprintf(stderr, "hello of %.*s\n", (int)name, r->at);
	r->at += name;
	expected = head(r, 0);
	if (r->bad || r->at != r->end || expected == 0)
		exit(1);
	n = put_head(b, 4, 5);
	n += put_text(b + n, VERSION);
	n += put_text(b + n, "plant");
	n += put_text(b + n, "PLANT");
	n += put_head(b + n, 0, 64);
	n += put_head(b + n, 0, 1 << 20);
	say(b, n);
}

static void message(struct reader *r)
{
	uint8_t b[16];
	uint32_t length;
	size_t n;
	if (head(r, 4) != 2 || head(r, 0) != expected || r->bad) {
		fprintf(stderr, "not message %llu: %td bytes are left of %zu, %02x %02x %02x %02x\n", (unsigned long long)expected,
			r->end - r->at, (size_t)(r->end - frame), frame[0], frame[1], frame[2], frame[3]);
		exit(1);
	}
	length = htonl(r->end - r->at);
	if (fwrite(&length, 4, 1, stdout) != 1 || fwrite(r->at, r->end - r->at, 1, stdout) != 1 || fflush(stdout) != 0)
		die("cannot store");
	n = put_head(b, 4, 2);
	n += put_head(b + n, 0, 1);
	n += put_head(b + n, 0, expected++);
	say(b, n);
}

/* receive takes what has arrived. A long message may come in pieces. */
static void receive(void)
{
	for (;;) {
		struct sockaddr_conn from;
		struct sctp_rcvinfo info;
		socklen_t from_size = sizeof from, info_size = sizeof info;
		unsigned int kind = 0;
		int flags = 0;
		ssize_t n = usrsctp_recvv(sock, frame + have, sizeof frame - have, (struct sockaddr *)&from, &from_size, &info, &info_size, &kind, &flags);
		if (n <= 0)
			return;
		if (flags & MSG_NOTIFICATION || kind != SCTP_RECVV_RCVINFO || info.rcv_sid != 1)
			continue;
		have += n;
		association = info.rcv_assoc_id;
		if (flags & MSG_EOR) {
			struct reader r = {frame, frame + have, 0};
			have = 0;
			if (expected == 0)
				welcome(&r);
			else
				message(&r);
		} else if (have == sizeof frame) {
			fprintf(stderr, "a frame is too long\n");
			exit(1);
		}
	}
}

static int output(void *address, void *b, size_t n, uint8_t tos, uint8_t df)
{
	(void)address, (void)tos, (void)df;
	return SSL_write(ssl, b, n) > 0 ? 0 : -1;
}

static void quiet(const char *format, ...) { (void)format; }

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* handshake takes the first address that says anything. */
static void handshake(int fd, char **files)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof peer;
	uint8_t b[1];
	SSL_CTX *context = SSL_CTX_new(DTLS_server_method());
	BIO *bio;
	if (!SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) ||
	    SSL_CTX_use_certificate_chain_file(context, files[0]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, files[1], SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_load_verify_locations(context, files[2], NULL) != 1 ||
	    SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256") != 1)
		die("cannot set up DTLS");
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	fprintf(stderr, "ready\n");
	if (recvfrom(fd, b, sizeof b, MSG_PEEK, (struct sockaddr *)&peer, &size) < 0 || connect(fd, (struct sockaddr *)&peer, size) < 0)
		die("cannot accept");
	bio = BIO_new_dgram(fd, BIO_NOCLOSE);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &peer);
	ssl = SSL_new(context);
	SSL_set_bio(ssl, bio, bio);
	if (SSL_accept(ssl) != 1)
		die("DTLS");
	fprintf(stderr, "%s\n", SSL_get_cipher(ssl));
}

int main(int argc, char **argv)
{
	static int key; /* stands for the connection */
	struct sockaddr_in here = {.sin_family = AF_INET};
	struct sockaddr_conn end = {.sconn_family = AF_CONN, .sconn_port = htons(5000), .sconn_addr = &key};
	uint8_t b[4096];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 1 << 20, on = 1;
	uint64_t last;
	if (argc != 5)
		return 2;
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	here.sin_port = htons(atoi(argv[1]));
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
		die("cannot listen");
	handshake(fd, argv + 2);

	usrsctp_init_nothreads(0, output, quiet);
	usrsctp_register_address(&key);
	sock = usrsctp_socket(AF_CONN, SOCK_SEQPACKET, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	if (sock == NULL || usrsctp_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) < 0 ||
	    usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof on) < 0 || usrsctp_set_non_blocking(sock, 1) < 0 ||
	    usrsctp_bind(sock, (struct sockaddr *)&end, sizeof end) < 0 || usrsctp_listen(sock, 1) < 0)
		die("cannot set up SCTP");
	for (last = now();;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t t;
		poll(&p, 1, SSL_pending(ssl) ? 0 : 10);
		if (p.revents || SSL_pending(ssl)) {
			int n = SSL_read(ssl, b, sizeof b);
			if (n > 0)
				usrsctp_conninput(&key, b, n, 0), receive();
			else if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
				return 0; /* the gateway has closed */
			else if (SSL_get_error(ssl, n) != SSL_ERROR_WANT_READ)
				die("DTLS");
		}
		if ((t = now()) != last) {
			usrsctp_handle_timers(t - last);
			last = t;
		}
	}
}
