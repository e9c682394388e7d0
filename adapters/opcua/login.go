package opcua

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/gopcua/opcua/ua"
)

// connect opens a secure channel to the pinned server, and a session in it.
func connect(ctx context.Context, s *Spec, token time.Duration) (*channel, error) {
	offers, err := endpoints(ctx, s)
	if err != nil {
		return nil, err
	}
	cert, err := s.choose(offers)
	if err != nil {
		return nil, err
	}
	c, err := dial(ctx, s, cert, token)
	if err != nil {
		return nil, s.explainOpen(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := c.login(ctx, s, cert, offers); err != nil {
		err = c.cause(err)
		c.bye()
		return nil, err
	}
	return c, nil
}

// login makes a session and activates it (OPC 10000-4, 5.7.2 and 5.7.3).
func (c *channel) login(ctx context.Context, s *Spec, cert []byte, offers []*ua.EndpointDescription) error {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	uri := s.ApplicationURI
	if own, err := x509.ParseCertificate(s.Certificate); err == nil && len(own.URIs) > 0 {
		uri = own.URIs[0].String()
	}
	created, err := call[*ua.CreateSessionResponse](ctx, c, &ua.CreateSessionRequest{
		ClientDescription: &ua.ApplicationDescription{
			ApplicationURI: uri, ProductURI: "urn:fieldseal",
			ApplicationName: ua.NewLocalizedText("Fieldseal"), ApplicationType: ua.ApplicationTypeClient,
		},
		EndpointURL: s.Endpoint, SessionName: "fieldseal",
		ClientNonce: nonce, ClientCertificate: s.Certificate,
		RequestedSessionTimeout: 60_000, MaxResponseMessageSize: maxMessage,
	})
	if err != nil {
		return s.explainOpen(err)
	}
	if got := leaf(created.ServerCertificate); got == nil || !bytes.Equal(got, cert) {
		return errors.New("the session's server certificate is not the pinned one")
	}
	if created.ServerSignature == nil {
		return errors.New("the server did not sign the session")
	}
	if err := c.sc.VerifySessionSignature(cert, nonce, created.ServerSignature.Signature); err != nil {
		return errors.New("the server's signature of the session is wrong")
	}
	if len(created.ServerNonce) < 32 {
		return errors.New("the server's nonce is shorter than 32 bytes")
	}
	if len(created.ServerEndpoints) > 0 {
		offers = created.ServerEndpoints // the same list, but proven
	}
	token, err := s.userToken(offers)
	if err != nil {
		return err
	}
	c.token = created.AuthenticationToken
	return c.activate(ctx, s, created, cert, token)
}

// activate binds the user to the session.
func (c *channel) activate(ctx context.Context, s *Spec, created *ua.CreateSessionResponse, cert []byte, token *ua.UserTokenPolicy) error {
	signature, algorithm, err := c.sc.NewSessionSignature(bytes.Clone(created.ServerCertificate), created.ServerNonce)
	if err != nil {
		return errors.New("cannot sign the session")
	}
	var identity any = &ua.AnonymousIdentityToken{PolicyID: token.PolicyID}
	if !s.User.Anonymous {
		policy := cmp.Or(token.SecurityPolicyURI, ua.FormatSecurityPolicyURI(s.Policy))
		password, how, err := c.sc.EncryptUserPassword(policy, string(s.User.Password), cert, created.ServerNonce)
		if err != nil {
			return errors.New("cannot encrypt the password for the server")
		}
		identity = &ua.UserNameIdentityToken{PolicyID: token.PolicyID, UserName: s.User.Name, Password: password, EncryptionAlgorithm: how}
	}
	_, err = call[*ua.ActivateSessionResponse](ctx, c, &ua.ActivateSessionRequest{
		ClientSignature:    &ua.SignatureData{Algorithm: algorithm, Signature: signature},
		LocaleIDs:          []string{"en"},
		UserIdentityToken:  ua.NewExtensionObject(identity),
		UserTokenSignature: &ua.SignatureData{},
	})
	if err == nil {
		return nil
	}
	var status ua.StatusCode
	if errors.As(err, &status) {
		switch status {
		case ua.StatusBadIdentityTokenInvalid, ua.StatusBadIdentityTokenRejected, ua.StatusBadUserAccessDenied, ua.StatusBadUserSignatureInvalid:
			who := "the anonymous user"
			if !s.User.Anonymous {
				who = fmt.Sprintf("the user %s or his password", s.User.Name)
			}
			return &refusal{what: fmt.Sprintf("the server refuses %s (%s)", who, statusName(status)), login: true}
		}
	}
	return s.explainOpen(err)
}
