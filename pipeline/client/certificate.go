package client

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/crypto/ssh"
)

// addKey adds the key of a file, preceded by its certificate. Like OpenSSH's client it looks for
// the certificate of FILE in FILE-cert.pub.
func (l *loader) addKey(file string, s ssh.Signer) {
	certFile := strings.TrimSuffix(file, ".pub") + "-cert.pub"
	certified, err := certify(certFile, s)
	switch {
	case err == nil:
		l.add(certified)
	case !errors.Is(err, fs.ErrNotExist):
		l.unusable(certFile, err)
	}
	l.add(s)
}

// certify returns a signer for the key with the certificate in a file. It does not check the
// certificate's expiry: the server does so with its own clock.
func certify(file string, s ssh.Signer) (ssh.Signer, error) {
	data, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, errors.New("is not a certificate")
	}
	cert, ok := public.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, errors.New("is a public key, not a certificate")
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("is a host certificate: create user certificates without ssh-keygen -h")
	}
	if s, err = ssh.NewCertSigner(cert, s); err != nil {
		return nil, errors.New("does not belong to the key next to it")
	}
	return s, nil
}
