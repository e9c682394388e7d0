package dtls

import (
	"io"
	"net"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/sctp"
)

const (
	// socketBuffer is the kernel's for what arrives, in bytes: a burst of a whole
	// window must fit.
	socketBuffer = 4 << 20
	// replayWindow is how many records back one may come late (RFC 6347,
	// 4.1.2.6). 64, the default, is less than a burst that a network reorders.
	replayWindow = 4096

	sctpMTU       = 1191    // bytes of an SCTP packet: with DTLS and UDP below 1280, IPv6's least
	receiveBuffer = 1 << 20 // bytes in reassembly for one association; a multiple of MaxFrame, or it deadlocks
	// reassemblyEntries bounds the pieces in reassembly per stream: tiny ones
	// cost far more memory than receiveBuffer counts. A window of whole messages
	// and receiveBuffer of fragments are less.
	reassemblyEntries = 4096

	// defaultMinCwnd is the congestion window in bytes that loss does not go
	// below. Radio loses without being congested.
	defaultMinCwnd = 128 << 10
	// The bounds of the retransmission timeout. pion's own least is 1 s, unless
	// the most is below it.
	leastRTO, mostRTO = 200 * time.Millisecond, 3 * time.Second
)

// suites are all there is: AEAD, with ephemeral keys and ECDSA certificates.
// pion's default list has CBC, which a forged datagram could misuse in older
// versions.
func suites() []dtls.CipherSuiteID {
	return []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// quiet drops what pion has to say: it comes back as errors.
func quiet() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}

// both are the DTLS options of either side.
func both() []dtls.Option {
	return []dtls.Option{
		dtls.WithCipherSuites(suites()...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(replayWindow),
		dtls.WithLoggerFactory(quiet()),
	}
}

// associationOptions are the SCTP options of either side. minCwnd is in bytes.
func associationOptions(conn net.Conn, minCwnd int, rtoMax time.Duration) []sctp.AssociationOption {
	return []sctp.AssociationOption{
		sctp.WithNetConn(conn),
		sctp.WithLoggerFactory(quiet()),
		sctp.WithMTU(sctpMTU),
		sctp.WithMaxReceiveBufferSize(receiveBuffer),
		sctp.WithMaxMessageSize(MaxFrame),
		sctp.WithMaxReassemblyQueueEntries(reassemblyEntries),
		sctp.WithEnableZeroChecksum(true),  // DTLS authenticates every packet (RFC 9653)
		sctp.WithEnableInterleaving(false), // one stream each way has nothing to interleave
		sctp.WithMinCwnd(uint32(minCwnd)),  // checked by who configures it
		sctp.WithRTOMax(float64(rtoMax.Milliseconds())),
	}
}
