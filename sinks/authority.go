package sinks

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// authorityError is the error of a certificate that no authority of ca_file has signed.
type authorityError struct {
	err    error
	signer string   // who signed the last certificate that the drain sent
	holds  []string // the certificates in ca_file
}

func (e *authorityError) Error() string { return e.err.Error() }
func (e *authorityError) Unwrap() error { return e.err }

func (e *authorityError) reason() string {
	const maxHeld = 3
	if slices.Contains(e.holds, e.signer) {
		return "the drain's certificate chain ends at " + e.signer + ", and ca_file holds another certificate of the same name, with another key"
	}
	held := strings.Join(e.holds[:min(len(e.holds), maxHeld)], " and ")
	if more := len(e.holds) - maxHeld; more > 0 {
		held += fmt.Sprintf(" and %d more", more)
	}
	return "ca_file holds " + held + ", and the drain's certificate chain ends at " + e.signer
}

// Explain adds to the error of a handshake, if it is due to the authorities of CAFile, which ones
// these are: see [TransportError].
func (t TLS) Explain(err error) error {
	var verification *tls.CertificateVerificationError
	if t.CAFile == "" || !errors.As(err, new(x509.UnknownAuthorityError)) || !errors.As(err, &verification) || errors.As(err, new(*proxyTLSError)) ||
		len(verification.UnverifiedCertificates) == 0 {
		return err
	}
	last := verification.UnverifiedCertificates[len(verification.UnverifiedCertificates)-1]
	e := &authorityError{err: err, signer: probe.Printable(last.Issuer.String())}
	data, readErr := os.ReadFile(t.CAFile)
	if readErr != nil {
		return err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, parseErr := x509.ParseCertificate(block.Bytes); parseErr == nil {
			e.holds = append(e.holds, probe.Printable(c.Subject.String()))
		}
	}
	if len(e.holds) == 0 || e.signer == "" {
		return err
	}
	return e
}
