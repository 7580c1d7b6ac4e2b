package client

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// KnownHosts is an OpenSSH known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). It is read by
// each call. A missing file is like an empty one.
type KnownHosts struct {
	File string
}

// UnknownHostError reports that a host is not in the file. The host has proven that it holds the
// key.
type UnknownHostError struct {
	Address string
	Key     ssh.PublicKey
}

func (e *UnknownHostError) Error() string {
	return fmt.Sprintf("host %s is unknown: its %s key has the fingerprint %s", e.Address, keyKind(e.Key), ssh.FingerprintSHA256(e.Key))
}

// HostKeyError reports that a host has a different key than expected, or a revoked one.
type HostKeyError struct {
	Address string
	Key     ssh.PublicKey         // the host's key
	Known   []knownhosts.KnownKey // the expected keys
	Revoked *knownhosts.KnownKey  // the entry that revokes the key, if any
}

// Error returns a conspicuous text of several lines, similar to OpenSSH's.
func (e *HostKeyError) Error() string {
	var b strings.Builder
	headline := "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!"
	if e.Revoked != nil {
		headline = "WARNING: REVOKED HOST KEY DETECTED!"
	}
	frame := strings.Repeat("@", 59)
	fmt.Fprintf(&b, "%s\n@%s@\n%s\n", frame, center(headline, len(frame)-2), frame)
	b.WriteString("IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n" +
		"Someone could be eavesdropping on you right now (man-in-the-middle attack)!\n")
	if e.Revoked == nil {
		b.WriteString("It is also possible that the host key has just been changed.\n")
	}
	fmt.Fprintf(&b, "The fingerprint of the %s key that %s sent is\n%s.\n", keyKind(e.Key), e.Address, ssh.FingerprintSHA256(e.Key))
	if e.Revoked != nil {
		fmt.Fprintf(&b, "It is revoked by %s:%d.\n", e.Revoked.Filename, e.Revoked.Line)
	}
	for _, known := range e.Known {
		fmt.Fprintf(&b, "%s:%d expects the %s key %s.\n", known.Filename, known.Line, keyKind(known.Key), ssh.FingerprintSHA256(known.Key))
	}
	if e.Revoked == nil && len(e.Known) > 0 {
		fmt.Fprintf(&b, "Ask the operators of the gateway. If they confirm the new key, remove the old one with\n"+
			"  ssh-keygen -f %q -R %q\n", e.Known[0].Filename, knownhosts.Normalize(e.Address))
	}
	b.WriteString("Host key verification failed.")
	return b.String()
}

func center(s string, width int) string {
	left := (width - len(s)) / 2
	return strings.Repeat(" ", left) + s + strings.Repeat(" ", width-len(s)-left)
}

// Check implements Options.HostKey. Its error is an [*UnknownHostError], a [*HostKeyError], or
// another error if the file cannot be read.
func (k KnownHosts) Check(address string, remote net.Addr, key ssh.PublicKey) error {
	check, err := k.load()
	if err != nil {
		return err
	}
	err = check(address, remote, key)
	if revoked, ok := errors.AsType[*knownhosts.RevokedError](err); ok {
		return &HostKeyError{Address: address, Key: key, Revoked: &revoked.Revoked}
	}
	mismatch, ok := errors.AsType[*knownhosts.KeyError](err)
	if !ok {
		if err != nil {
			err = fmt.Errorf("check the key of host %s: %w", address, err)
		}
		return err
	}
	known, _, err := k.split(mismatch.Want)
	switch {
	case err != nil:
		return err
	case len(known) == 0:
		return &UnknownHostError{Address: address, Key: key}
	}
	return &HostKeyError{Address: address, Key: key, Known: known}
}

// Algorithms returns the value for Options.HostKeyAlgorithms. The algorithms of the host's known
// keys come first: otherwise a server with several keys could present an unknown one, which would
// look like a changed key. Certificates are requested only if the file has their authority.
func (k KnownHosts) Algorithms(address string) ([]string, error) {
	check, err := k.load()
	if err != nil {
		return nil, err
	}
	// Package knownhosts lists the known keys only in the error for a wrong key.
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	wrong, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	var known []knownhosts.KnownKey
	authority := false
	if mismatch, ok := errors.AsType[*knownhosts.KeyError](check(address, &net.TCPAddr{}, wrong)); ok {
		known, authority, err = k.split(mismatch.Want)
		if err != nil {
			return nil, err
		}
	}
	// The order of package ssh, in three parts.
	var certificates, first, last []string
	for _, algorithm := range ssh.SupportedAlgorithms().HostKeys {
		isKnown := slices.ContainsFunc(known, func(k knownhosts.KnownKey) bool {
			return slices.Contains(keyAlgorithms(k.Key.Type()), algorithm)
		})
		switch {
		case strings.Contains(algorithm, "-cert-"):
			if authority {
				certificates = append(certificates, algorithm)
			}
		case isKnown:
			first = append(first, algorithm)
		default:
			last = append(last, algorithm)
		}
	}
	return slices.Concat(certificates, first, last), nil
}

// keyAlgorithms returns the signature algorithms of a key type (RFC 8332 §3 for RSA).
func keyAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// Add appends a host's key to the file, and creates the file and its folder if they are missing.
func (k KnownHosts) Add(address string, key ssh.PublicKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("add the key of host %s: %w", address, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(k.File), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(k.File, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line := knownhosts.Line([]string{address}, key) + "\n"
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line) // a single write, since other processes may append too
	return err
}

func (k KnownHosts) load() (ssh.HostKeyCallback, error) {
	check, err := knownhosts.New(k.File)
	if errors.Is(err, fs.ErrNotExist) {
		check, err = knownhosts.New()
	}
	if err != nil {
		return nil, fmt.Errorf("read the known hosts: %w", err)
	}
	return check, nil
}

// split removes the keys of certificate authorities, which package knownhosts does not mark, and
// reports whether there were any.
func (k KnownHosts) split(keys []knownhosts.KnownKey) (hosts []knownhosts.KnownKey, authority bool, err error) {
	if len(keys) == 0 {
		return nil, false, nil
	}
	data, err := os.ReadFile(k.File)
	if err != nil {
		return nil, false, fmt.Errorf("read the known hosts: %w", err)
	}
	number, authorities := 0, make(map[int]bool)
	for scanner := bufio.NewScanner(bytes.NewReader(data)); scanner.Scan(); {
		number++
		authorities[number] = bytes.HasPrefix(bytes.TrimSpace(scanner.Bytes()), []byte("@cert-authority"))
	}
	for _, key := range keys {
		if authorities[key.Line] {
			authority = true
		} else {
			hosts = append(hosts, key)
		}
	}
	return hosts, authority, nil
}

// keyKind returns the common name of a key's type.
func keyKind(key ssh.PublicKey) string {
	switch t := key.Type(); {
	case t == ssh.KeyAlgoED25519:
		return "ED25519"
	case t == ssh.KeyAlgoRSA:
		return "RSA"
	case strings.HasPrefix(t, "ecdsa-"):
		return "ECDSA"
	default:
		return t
	}
}
