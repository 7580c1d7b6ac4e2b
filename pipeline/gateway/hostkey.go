package gateway

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// LoadHostKeys reads the host keys in the files. The first file may be missing: see LoadHostKey.
// The others must exist, because their names do not determine the type of key to create.
func LoadHostKeys(paths []string) (keys []ssh.Signer, err error) {
	for i, path := range paths {
		load := LoadHostKey
		if i > 0 {
			load = readHostKey
		}
		key, err := load(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: create the key with `ssh-keygen -t rsa -b 4096 -N '' -f %s`, or another type", err, path)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// LoadHostKey reads the host key in the file at path: a private key in a PEM format that OpenSSH
// writes, without a passphrase, readable only by its owner. If the file does not exist, it creates
// an Ed25519 key there, in OpenSSH's format and with mode 0600. The file is created atomically; if
// several processes create it at the same time, all use the same key.
//
// Clients remember the key: if the file is replaced, they warn of an attack.
func LoadHostKey(path string) (ssh.Signer, error) {
	key, err := readHostKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createHostKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create host key %s: %w; make its folder writable, or set another path", path, err)
	}
	return readHostKey(path)
}

func readHostKey(path string) (ssh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("host key %s is not a file: set the path of a private key file, or of one to create", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("host key %s is open to others (mode %04o): run `chmod 600 %s`; if others may have read it, delete it and a new one is created", path, mode, path)
	}
	const limit = 64 << 10 // any key is far smaller
	if info.Size() > limit {
		return nil, fmt.Errorf("host key %s is not a key: it has %d bytes", path, info.Size())
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		return nil, fmt.Errorf("host key %s has a passphrase, which cannot be entered: remove it with `ssh-keygen -p -f %s`", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("host key %s is not a private key in PEM format (%w): put the right file there, or delete it and a new one is created", path, err)
	}
	return key, nil
}

// createHostKey returns an error that wraps fs.ErrExist if the file exists; it does not modify it.
func createHostKey(path string) (err error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "ttydrain")
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".host_key-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(pem.EncodeToMemory(block))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link never replaces a key that another process has created in the
	// meantime.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
