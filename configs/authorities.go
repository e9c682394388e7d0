package configs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// authorities reads the path of a file with certificates, and looks into it.
func (l *loader) authorities(n node) (path string, digest [32]byte) {
	s, ok := n.text()
	if !ok || l.alone {
		return "", digest
	}
	path = n.f.beside(s)
	b, err := readFile(path)
	if err != nil {
		n.wrong(cannotRead(s, err))
		return "", digest
	}
	if _, digest, err = certificates(b); err != nil {
		n.wrong(split(fmt.Errorf("%s %w", quote(filepath.Base(path)), err)))
		if !errors.Is(err, errNoCertificate) {
			return "", digest
		}
	}
	return path, digest
}

var errNoCertificate = errors.New("has no certificate in it; write the file of the certificates that servers must lead to, in PEM")

// certificates reads those of authorities, and gives a digest of which they are,
// in whatever order.
func certificates(b []byte) (pool *x509.CertPool, digest [32]byte, err error) {
	pool = x509.NewCertPool()
	var sums [][]byte
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, digest, errors.New("has something in it that is no certificate; leave certificates only, in PEM")
		}
		pool.AddCert(c)
		sum := sha256.Sum256(c.Raw)
		sums = append(sums, sum[:])
	}
	if sums == nil {
		return nil, digest, errNoCertificate
	}
	slices.SortFunc(sums, bytes.Compare)
	sums = slices.CompactFunc(sums, bytes.Equal)
	return pool, sha256.Sum256(bytes.Join(sums, nil)), nil
}
