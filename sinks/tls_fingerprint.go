package sinks

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
)

// A fingerprint is the SHA-256 digest of a certificate in DER, as `openssl x509 -noout -fingerprint
// -sha256` prints it.
type fingerprint [sha256.Size]byte

func (f fingerprint) String() string { return hex.EncodeToString(f[:]) }

func fingerprintOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }

// parseFingerprints reads fingerprints with commas between.
func parseFingerprints(text string) ([]fingerprint, error) {
	var list []fingerprint
	for one := range strings.SplitSeq(text, ",") {
		digest, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(one), ":", ""))
		if err != nil || len(digest) != sha256.Size {
			return nil, RefuseSetting("fingerprint_sha256",
				"is no SHA-256 fingerprint; expected 64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 -in FILE prints them")
		}
		list = append(list, fingerprint(digest))
	}
	return list, nil
}

// A pinError reports a certificate that is not one of those whose fingerprints are set.
type pinError struct{ got fingerprint }

func (e *pinError) Error() string {
	return "the certificate has the SHA-256 fingerprint " + e.got.String()
}

// verifyPinned accepts a connection whose certificate is pinned, and in its time.
func verifyPinned(pins []fingerprint, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the drain has no certificate")
	}
	leaf := state.PeerCertificates[0]
	if got := fingerprintOf(leaf); !slices.Contains(pins, got) {
		return &pinError{got}
	}
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates,
			Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired}}
	}
	return nil
}
