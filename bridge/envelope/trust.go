package envelope

import (
	"crypto/ed25519"
	"time"
)

// Trust is what a receiver believes: which gateways there are, and by which keys
// they sign. It comes from the trust file, which the approvers signed.
type Trust struct {
	Gateways map[string]GatewayKeys
}

// GatewayKeys are the signing keys of one gateway: more than one while keys are
// changed.
type GatewayKeys []GatewayKey

// GatewayKey is one signing key.
type GatewayKey struct {
	Public ed25519.PublicKey
	// Until ends the key: what it signed with a later time is refused. The time
	// is the gateway's own word, so that a backlog stays readable after the
	// key's end; a key that was stolen has to be taken out of the trust file.
	// Zero means no end.
	Until time.Time
}

// verify tells whether the gateway of the message signed it. The time is what
// the signed content says of itself.
func (t *Trust) verify(m *Message, s *sign1, at time.Time) error {
	if t == nil {
		return nil
	}
	for _, k := range t.Gateways[m.Address.Stream.Gateway] {
		if len(k.Public) != ed25519.PublicKeySize || SigningKeyID(k.Public) != s.kid {
			continue
		}
		switch {
		case !s.verify(k.Public):
			return refuse(BadSignature, m, "the signature does not match")
		case !k.Until.IsZero() && at.After(k.Until):
			return refuse(BadSignature, m, "signed at %s by key %v, which ended at %s", at.UTC().Format(time.RFC3339), s.kid, k.Until.UTC().Format(time.RFC3339))
		}
		return nil
	}
	return refuse(BadSignature, m, "signed by key %v, which is no key of gateway %q", s.kid, m.Address.Stream.Gateway)
}
