package opcua_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/gopcua/opcua/uapolicy"
	"github.com/gopcua/opcua/uasc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// client is who the tests are towards servers: one key serves them all.
var client = sim.NewOPCUAIdentity("test-client", 2048)

const policyURI = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"

// impostor stands between a client and the pinned server. It has a certificate of
// its own, and not the pinned one's key.
type impostor struct {
	*sim.OPCUAIdentity
	endpoint string
	first    bool // sends the chunk that makes the library take its certificate
}

func startImpostor(t *testing.T, first bool) *impostor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	i := &impostor{sim.NewOPCUAIdentity("impostor", 2048), "opc.tcp://" + l.Addr().String(), first}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(sinktest.Patience))
			i.serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return i
}

func (i *impostor) serve(c net.Conn) {
	for {
		var header [8]byte
		if _, err := io.ReadFull(c, header[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.LittleEndian.Uint32(header[4:]))-8); err != nil {
			return
		}
		switch string(header[:3]) {
		case "HEL":
			ack, _ := (&uacp.Acknowledge{ReceiveBufSize: 65535, SendBufSize: 65535}).Encode()
			_, _ = c.Write(chunk("ACKF", ack))
		case "OPN":
			if i.first {
				_, _ = c.Write(chunk("OPNF", append(i.security(policyURI, i.Certificate), make([]byte, 512)...)))
			}
			_, _ = c.Write(i.answer())
		}
	}
}

func chunk(kind string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body)+8))
	return append(b, body...)
}

// security is the header of an OpenSecureChannel answer, with its channel.
func (i *impostor) security(policy string, cert []byte) []byte {
	b := ua.NewBuffer(nil)
	b.WriteUint32(1)
	b.WriteString(policy)
	b.WriteByteString(cert)
	b.WriteByteString(uapolicy.Thumbprint(client.Certificate))
	return b.Bytes()
}

// answer is an OpenSecureChannel answer that turns security off, signed by the
// impostor and encrypted for the client.
func (i *impostor) answer() []byte {
	b := ua.NewBuffer(nil)
	b.WriteUint32(1)
	b.WriteUint32(1) // the library's first request
	b.WriteStruct(ua.NewFourByteExpandedNodeID(0, id.OpenSecureChannelResponse_Encoding_DefaultBinary))
	body, _ := ua.Encode(&ua.OpenSecureChannelResponse{
		ResponseHeader: &ua.ResponseHeader{Timestamp: time.Now(), ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)},
		SecurityToken:  &ua.ChannelSecurityToken{ChannelID: 1, TokenID: 2, CreatedAt: time.Now(), RevisedLifetime: 3_600_000},
		ServerNonce:    make([]byte, 32),
	})
	b.Write(body)
	algo, err := uapolicy.Asymmetric(policyURI, i.Key, &client.Key.PublicKey)
	if err != nil {
		panic(err)
	}
	plain := b.Bytes()
	pad := algo.PlaintextBlockSize() - (len(plain)+algo.SignatureLength()+1)%algo.PlaintextBlockSize()
	for range pad + 1 {
		plain = append(plain, byte(pad))
	}
	head := i.security(ua.SecurityPolicyURINone, nil)
	size := 8 + len(head) + (len(plain)+algo.SignatureLength())/algo.PlaintextBlockSize()*algo.BlockSize()
	out := append(binary.LittleEndian.AppendUint32([]byte("OPNF"), uint32(size)), head...)
	signature, _ := algo.Signature(append(append([]byte{}, out...), plain...))
	sealed, err := algo.Encrypt(append(plain, signature...))
	if err != nil {
		panic(err)
	}
	return append(out, sealed...)
}

// TestLibraryLetsImpostorIn shows what the gate is for: gopcua v0.9.0 opens a
// channel with somebody who does not have the pinned certificate's key, and
// without any security after that. Once this test fails the library is mended.
func TestLibraryLetsImpostorIn(t *testing.T) {
	pinned := sim.NewOPCUAIdentity("pinned", 2048)
	i := startImpostor(t, true)
	ctx, cancel := context.WithTimeout(context.Background(), sinktest.Patience)
	defer cancel()
	conn, err := uacp.Dial(ctx, i.endpoint)
	require.NoError(t, err)
	defer conn.Close()
	cfg := &uasc.Config{
		SecurityPolicyURI: policyURI, SecurityMode: ua.MessageSecurityModeSignAndEncrypt, Lifetime: 3_600_000, RequestTimeout: time.Second,
		Certificate: client.Certificate, LocalKey: client.Key,
		RemoteCertificate: pinned.Certificate, Thumbprint: uapolicy.Thumbprint(pinned.Certificate),
	}
	sc, err := uasc.NewSecureChannel(i.endpoint, conn, cfg, make(chan error, 1))
	require.NoError(t, err)
	require.NoError(t, sc.Open(ctx))
	defer sc.Close()
	assert.Equal(t, ua.SecurityPolicyURINone, cfg.SecurityPolicyURI, "encryption is off")
	assert.Equal(t, i.Certificate, cfg.RemoteCertificate, "and the certificate is the impostor's")
}

// TestGate: the same impostor does not get past the gate.
func TestGate(t *testing.T) {
	pinned := sim.NewOPCUAIdentity("pinned", 2048)
	for _, c := range []struct {
		first bool
		why   string
	}{
		{true, "somebody between us and the server, or the server itself, answered with another certificate than the pinned one"},
		{false, "somebody between us and the server, or the server itself, answered with another security policy than the one asked for"},
	} {
		i := startImpostor(t, c.first)
		err := opcua.Dial(context.Background(), opcua.Spec{
			Endpoint: i.endpoint, Policy: "Basic256Sha256", Mode: "SignAndEncrypt", ServerSHA256: pinned.Fingerprint(),
			Certificate: client.Certificate, Key: opcua.Secret(client.PKCS8()), Timeout: 2 * time.Second,
		}, pinned.Certificate)
		assert.EqualError(t, err, c.why)
	}
}
