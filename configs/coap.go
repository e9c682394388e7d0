package configs

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/adapters/coap"
)

// CoAP is how a machine is met that encrypts itself and sends.
type CoAP struct {
	Endpoint    coap.Spec // where to listen, without certificate and authorities; machines with an equal one, and equal names, share it
	Certificate string    // the keystore's entry with the gateway's certificate; empty: every device has a key
	Trust       string    // path of the certificates that named devices' must lead to, in PEM; empty: none has a name
	TrustDigest [32]byte  // of those certificates, as they were when the file was read: see [CoAP.Authorities]
	coap.Machine
}

// endpoint is where the gateway listens; empty where the file does not say.
func (c *CoAP) endpoint() string {
	if c.Endpoint.Listen == "" {
		return ""
	}
	return "coaps://" + c.Endpoint.Listen
}

// Authorities reads the certificates that named devices' must lead to; nil where
// there are none. They have to be those that were there when the file was read:
// what was signed of a device was signed of the one that those authorities name.
func (c *CoAP) Authorities() (*x509.CertPool, error) {
	if c.Trust == "" {
		return nil, nil //nolint:nilnil // none is not an error
	}
	b, err := readFile(c.Trust)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", Printable(c.Trust), err)
	}
	pool, digest, err := certificates(b)
	if err != nil {
		what, _ := split(err)
		return nil, fmt.Errorf("%s %s", Printable(c.Trust), what)
	}
	if digest != c.TrustDigest {
		return nil, fmt.Errorf("%s has other certificates than when the configuration was read", Printable(c.Trust))
	}
	return pool, nil
}

// identity says which device it is, as it is signed: a name is that of another
// device where another authority gave it, or another key proves it.
func (c *CoAP) identity() string {
	switch d := &c.Device; {
	case d.CertificateName != "":
		return d.String() + "@sha256:" + hex.EncodeToString(c.TrustDigest[:])
	case d.Identity != "":
		return d.String() + "@credential:" + d.Credential
	default:
		return d.String()
	}
}

// What to write where it is missing or wrong.
const (
	anyListen   = `write listen: "0.0.0.0:5684", or the address of one interface`
	anyDevice   = `write device: {psk_identity: NAME, psk: "credential:NAME"}, or device: {certificate: "sha256:…"} or {certificate: NAME}`
	devicePolls = "remove it: the device sends when it will"
	sendsPath   = "write path: /NAME, where the device sends it"
)

// coapReader reads what a file says of a machine that encrypts itself.
type coapReader struct {
	*machineReader
	last coap.Point // the point that is read now
}

// connection reads where the device is expected, and which one it is.
func (r *coapReader) connection(own, base *mapping) {
	m := over(own, base)
	r.keep("", m)
	c := r.m.CoAP
	const gone = "remove it: the device connects to the gateway"
	m.foreign("other protocols", "CoAP", map[string]string{
		"connect": anyListen, "endpoint": anyListen, "line": gone, "unit_id": gone, "order": gone, "reads": gone,
		"security": "remove it: it is always encrypted, with a device that is known", "server_certificate": anyDevice, "user": anyDevice,
		"namespace": gone, "timeout": "write silence: for how long a device may say nothing",
	})
	need := func(key, instead string) node {
		if r.partial {
			return m.get(key)
		}
		return m.need(key, instead)
	}
	r.connect = need("listen", anyListen)
	if s, ok := r.connect.text(); ok {
		c.Endpoint.Listen = s
		before := *r.wrong
		r.adapter(c.Endpoint.Check())
		if *r.wrong == before {
			c.Endpoint.Listen = netip.MustParseAddrPort(s).String()
		}
	}
	r.device(need("device", anyDevice))
	certificate, trust := m.get("certificate"), m.get("trust")
	c.Certificate, _ = certificate.secret("keystore")
	if trust.present() {
		c.Trust, c.TrustDigest = r.l.authorities(trust)
	}
	switch d := &c.Device; {
	case d.Identity != "" || d.String() == "":
	case !certificate.present():
		m.missing("certificate", "write certificate: keystore:uplink: a device with a certificate wants to see the gateway's")
	case d.CertificateName != "" && !trust.present():
		m.missing("trust", `write trust: and the file with the authority that issued the device's certificate, or device: {certificate: "sha256:…"}`)
	}
	c.Silence, _ = m.get("silence").duration(time.Second, "5m")
	m.done()
}

// device reads which one it is. It quotes nothing of a key.
func (r *coapReader) device(n node) {
	if !n.present() {
		return
	}
	if !n.isMapping() {
		n.wrong("'device' is no mapping", anyDevice)
		return
	}
	d := &r.m.CoAP.Device
	m := n.mapping()
	certificate, identity := m.get("certificate"), m.get("psk_identity")
	psk := m.get("psk")
	switch keyed := identity.present() || psk.present(); {
	case certificate.present() && keyed:
		n.wrong("'device' has a certificate and a key", "write one of them")
	case certificate.present():
		s, ok := certificate.text()
		if strings.HasPrefix(s, "sha256:") {
			d.CertificateSHA256 = certificate.fingerprint()
		} else if ok {
			d.CertificateName = s
		}
	case !keyed:
		n.wrong("'device' says nothing", anyDevice)
	default:
		d.Identity, _ = m.need("psk_identity", "write psk_identity: and what the device is set to").text()
		password := m.need("psk", `write psk: "credential:NAME"`)
		d.Credential, _ = password.secret("credential")
		if d.Credential != "" && d.Credential == r.l.unlock {
			password.wrong("credential:"+d.Credential+" unlocks the keystore", "write another one, with this device's key alone")
		}
	}
	m.done()
}

// differs compares two machines of one listener.
func (r *coapReader) differs(other *machineReader) (what, here, there string) {
	a, b := r.m.CoAP, other.m.CoAP
	if b == nil {
		return "", "", ""
	}
	said := func(s, without string) string {
		if s == "" {
			return without
		}
		return quote(s)
	}
	switch {
	case a.Certificate != b.Certificate:
		return "certificate", said(a.Certificate, "missing"), said(b.Certificate, "missing")
	case a.Trust != b.Trust:
		return "trust", said(a.Trust, "missing"), said(b.Trust, "missing")
	}
	return "", "", ""
}

// check has the adapter look at the machine.
func (r *coapReader) check() {
	c := r.m.CoAP
	c.Name = r.m.Name
	m := c.Machine
	if m.Device.String() == "" || (m.Device.Identity == "") != (m.Device.Credential == "") {
		m.Device = coap.Device{CertificateSHA256: [32]byte{1}} // it is said already
	}
	r.adapter(m.Check())
}

// distinctDevices refuses the second machine of a device.
func (l *loader) distinctDevices(readers []*machineReader) {
	first := map[string]*machineReader{}
	for _, r := range readers {
		if r.m.CoAP == nil || r.m.Device() == "" || *r.wrong > 0 {
			continue
		}
		which := r.m.Device() // whichever listener it is expected at: it may choose
		if other, twice := first[which]; twice {
			r.places[""]["device"].wrong("the device is that of the machine "+quote(other.m.Name)+" in "+other.m.File+" already", "a device is one machine: put its points into one file")
			continue
		}
		first[which] = r
	}
}
