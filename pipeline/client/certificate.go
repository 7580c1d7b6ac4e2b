package client

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/crypto/ssh"
)

// addKey adds the key of a file and, before it, the certificate that stands beside the file, as
// OpenSSH's client finds it: that of FILE is FILE-cert.pub.
func (l *loader) addKey(file string, s ssh.Signer) {
	beside := strings.TrimSuffix(file, ".pub") + "-cert.pub"
	certified, err := certify(beside, s)
	switch {
	case err == nil:
		l.add(certified)
	case !errors.Is(err, fs.ErrNotExist):
		l.unusable(beside, err)
	}
	l.add(s)
}

// certify is the key with the certificate in a file. Whether that has expired is for the server to
// say, by its own clock.
func certify(file string, s ssh.Signer) (ssh.Signer, error) {
	data, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, errors.New("is no certificate")
	}
	cert, ok := public.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, errors.New("is a public key, and no certificate")
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("is a host's certificate: a person's is made without ssh-keygen -h")
	}
	if s, err = ssh.NewCertSigner(cert, s); err != nil {
		return nil, errors.New("is the certificate of another key than the one beside it")
	}
	return s, nil
}
