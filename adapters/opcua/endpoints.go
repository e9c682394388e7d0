package opcua

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"
)

// refusal is why an endpoint is not connected to that time alone does not mend.
type refusal struct {
	what  string
	login bool // of the user: some servers lock him out for trying again and again
}

func (r *refusal) Error() string { return r.what }

// endpoints asks the server what it offers. Nothing of the answer is proven.
func endpoints(ctx context.Context, s *Spec) ([]*ua.EndpointDescription, error) {
	c, err := dial(ctx, s, nil, time.Hour)
	if err != nil {
		return nil, err
	}
	defer c.bye()
	answer, err := call[*ua.GetEndpointsResponse](ctx, c, &ua.GetEndpointsRequest{EndpointURL: s.Endpoint})
	if err != nil {
		return nil, c.cause(err)
	}
	return answer.Endpoints, nil
}

// choose gives the server's certificate, if the server offers what the mapping
// asks for under the certificate that is pinned.
func (s *Spec) choose(offers []*ua.EndpointDescription) ([]byte, error) {
	policy, mode := ua.FormatSecurityPolicyURI(s.Policy), ua.MessageSecurityModeFromString(s.Mode)
	var offered []string
	var other []byte // a certificate that is not the pinned one
	secured := false
	for _, e := range offers {
		if e == nil || !strings.HasPrefix(e.EndpointURL, "opc.tcp:") {
			continue
		}
		name := policyName(e.SecurityPolicyURI) + " " + modeName(e.SecurityMode)
		if !slices.Contains(offered, name) && len(offered) < 12 {
			offered = append(offered, name)
		}
		if e.SecurityMode == ua.MessageSecurityModeNone || e.SecurityPolicyURI == ua.SecurityPolicyURINone {
			continue
		}
		secured = true
		cert := leaf(e.ServerCertificate)
		if e.SecurityPolicyURI != policy || e.SecurityMode != mode || cert == nil {
			continue
		}
		if sha256.Sum256(cert) == s.ServerSHA256 {
			return cert, nil
		}
		other = cert
	}
	switch {
	case other != nil:
		return nil, &refusal{what: fmt.Sprintf("the server's certificate is sha256:%x, and the pinned one is sha256:%x; "+
			"if the server has a new certificate, compare the fingerprint with the one it shows and change server_certificate",
			sha256.Sum256(other), s.ServerSHA256)}
	case len(offered) == 0:
		return nil, &refusal{what: "the server offers no opc.tcp endpoint"}
	case !secured:
		return nil, &refusal{what: fmt.Sprintf("the server offers connections without security only (None); switch on %s %s there", s.Policy, s.Mode)}
	}
	return nil, &refusal{what: fmt.Sprintf("the server does not offer %s %s; it offers %s", s.Policy, s.Mode, strings.Join(offered, ", "))}
}

// userToken gives the policy of the user token that fits the mapping.
func (s *Spec) userToken(offers []*ua.EndpointDescription) (*ua.UserTokenPolicy, error) {
	want := ua.UserTokenTypeUserName
	if s.User.Anonymous {
		want = ua.UserTokenTypeAnonymous
	}
	var best *ua.UserTokenPolicy
	rank := len(policies) + 2
	weak := false
	for _, e := range offers {
		if e == nil || e.SecurityPolicyURI != ua.FormatSecurityPolicyURI(s.Policy) || e.SecurityMode != ua.MessageSecurityModeFromString(s.Mode) {
			continue
		}
		for _, t := range e.UserIdentityTokens {
			if t == nil || t.TokenType != want {
				continue
			}
			if s.User.Anonymous {
				return t, nil
			}
			// An empty policy is the channel's; None leaves the password to the
			// channel's encryption, if it has one.
			r := slices.Index(policies[:], policyName(t.SecurityPolicyURI))
			switch {
			case t.SecurityPolicyURI == "" || policyName(t.SecurityPolicyURI) == s.Policy:
				r = -1
			case t.SecurityPolicyURI == ua.SecurityPolicyURINone && s.Mode == modeEncrypt:
				r = len(policies)
			case r < 0:
				weak = true
				continue
			}
			if r < rank {
				best, rank = t, r
			}
		}
	}
	switch {
	case best != nil:
		return best, nil
	case weak:
		return nil, &refusal{what: "the server takes passwords only in ways that are broken or unencrypted"}
	case s.User.Anonymous:
		return nil, &refusal{what: "the server lets nobody in anonymously; write user: {name: …, password: \"credential:…\"}"}
	}
	return nil, &refusal{what: "the server does not take a name and a password here"}
}

// policyName is the last part of a known policy's URI.
func policyName(uri string) string {
	for _, name := range [...]string{"None", "Basic128Rsa15", "Basic256", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"} {
		if uri == ua.FormatSecurityPolicyURI(name) {
			return name
		}
	}
	return "an unknown policy"
}

func modeName(m ua.MessageSecurityMode) string {
	switch m {
	case ua.MessageSecurityModeSign:
		return modeSign
	case ua.MessageSecurityModeSignAndEncrypt:
		return modeEncrypt
	}
	return "None"
}
