package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// ErrNoIdentity is wrapped by the error for a login without keys.
var ErrNoIdentity = errors.New("no key to log in with")

// IdentityOptions configure where to look for the user's keys.
type IdentityOptions struct {
	// Files are private key files, which are used exclusively. A public key file selects the
	// matching key of the key agent. If there are none, the keys of the key agent are used, and
	// then the default keys in Folder. The certificate of a key in FILE is read from FILE-cert.pub.
	Files []string
	// Folder is the user's ~/.ssh. Its default keys are id_ed25519, id_ecdsa and id_rsa.
	Folder string
	// AgentSocket is the key agent's address, the value of SSH_AUTH_SOCK; "" for none.
	AgentSocket string
	// Ask asks for the passphrase of a key file; again is true after a wrong one. If the public key
	// is known, it is called only when the server has accepted the key.
	Ask func(ctx context.Context, file string, again bool) ([]byte, error)
	// Report is called once for each key file or key agent that cannot be used, with the reason.
	// Missing default files are not reported. It may be called during Dial.
	Report func(name string, err error)
}

// defaultKeys are the names of the files in ~/.ssh, in the order of use.
var defaultKeys = [...]string{"id_ed25519", "id_ecdsa", "id_rsa"}

// passphraseTries is the number of attempts to type a passphrase, as in OpenSSH's client.
const passphraseTries = 3

// maxKeyFile bounds how much of a key file is read; the largest RSA keys have about 13 KB.
const maxKeyFile = 1 << 20

// Identities are the keys that a user can authenticate with.
type Identities struct {
	// Signers are the keys for [Options]. They are valid until Close.
	Signers []ssh.Signer
	agent   net.Conn // nil if there is none
}

// LoadIdentities loads the user's keys. If there are none, the error wraps [ErrNoIdentity] and
// lists the places that were searched. ctx also bounds later calls of Ask and of the key agent.
func LoadIdentities(ctx context.Context, o IdentityOptions) (*Identities, error) {
	l := loader{ctx: ctx, options: o, seen: make(map[string]bool)}
	l.dialAgent()
	if len(o.Files) > 0 {
		for _, file := range o.Files {
			if err := l.addFile(file); err != nil {
				l.unusable(file, err)
			}
		}
	} else {
		for _, s := range l.agentSigners {
			l.add(s)
		}
		for _, name := range defaultKeys {
			file := filepath.Join(o.Folder, name)
			err := l.addFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				l.misses = append(l.misses, file+" does not exist")
			} else if err != nil {
				l.unusable(file, err)
			}
		}
	}
	if len(l.signers) == 0 {
		l.closeAgent()
		return nil, fmt.Errorf("%w: %s", ErrNoIdentity, strings.Join(l.misses, "; "))
	}
	return &Identities{Signers: l.signers, agent: l.agent}, nil
}

// Close closes the connection to the key agent, which is not needed after Dial has returned.
func (i *Identities) Close() error {
	if i.agent == nil {
		return nil
	}
	return i.agent.Close()
}

// loader is the state of one call of LoadIdentities.
type loader struct {
	ctx          context.Context
	options      IdentityOptions
	agent        net.Conn
	agentSigners []ssh.Signer
	signers      []ssh.Signer
	seen         map[string]bool // the public keys of signers
	misses       []string        // reasons for the case that there are no signers
}

func (l *loader) unusable(name string, err error) {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err // the caller reports the name
	}
	l.misses = append(l.misses, fmt.Sprintf("%s: %v", name, err))
	if l.options.Report != nil {
		l.options.Report(name, err)
	}
}

func (l *loader) dialAgent() {
	if l.options.AgentSocket == "" {
		l.misses = append(l.misses, "no key agent (SSH_AUTH_SOCK is not set)")
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(l.ctx, "unix", l.options.AgentSocket)
	if err != nil {
		l.unusable("key agent (SSH_AUTH_SOCK)", err)
		return
	}
	l.agent = conn
	// A hanging agent must not outlast ctx. If ctx is still valid at the end, Close closes the
	// connection.
	context.AfterFunc(l.ctx, func() { conn.Close() })
	l.agentSigners, err = agent.NewClient(conn).Signers()
	switch {
	case err != nil:
		l.unusable("key agent (SSH_AUTH_SOCK)", err)
		l.closeAgent()
	case len(l.agentSigners) == 0:
		l.misses = append(l.misses, "the key agent has no keys")
	}
}

func (l *loader) closeAgent() {
	if l.agent != nil {
		l.agent.Close()
		l.agent = nil
	}
}

// add adds a key unless it is already present.
func (l *loader) add(s ssh.Signer) {
	id := string(s.PublicKey().Marshal())
	if !l.seen[id] {
		l.seen[id] = true
		l.signers = append(l.signers, s)
	}
}

// addFile adds the key in a file, using the agent's signer if the agent has the same key.
func (l *loader) addFile(file string) error {
	data, err := readKeyFile(file)
	if err != nil {
		return err
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return l.addFromAgent(file, public, errors.New("is a public key, and no key agent has the private key: specify the file of the private key"))
	}
	signer, err := ssh.ParsePrivateKey(data)
	missing, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case err == nil:
	case encrypted:
		return l.addEncrypted(file, data, missing.PublicKey)
	case !bytes.Contains(data, []byte("PRIVATE KEY-----")):
		return errors.New("is not a private key")
	default:
		return fmt.Errorf("cannot be read as a private key: %w", err)
	}
	if err := checkPrivate(file); err != nil {
		return err
	}
	l.addKey(file, signer)
	return nil
}

func readKeyFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// checkPrivate returns an error if other users can access the key file, as OpenSSH's client does.
func checkPrivate(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("is accessible by other users: its mode is %04o; run: chmod 600 %q", mode, file)
	}
	return nil
}

func (l *loader) addFromAgent(file string, public ssh.PublicKey, otherwise error) error {
	for _, s := range l.agentSigners {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			l.addKey(file, s)
			return nil
		}
	}
	return otherwise
}

// addEncrypted adds a key that needs a passphrase. If the file, or FILE.pub, contains the public
// key, the user is only asked after the server has accepted it.
func (l *loader) addEncrypted(file string, data []byte, public ssh.PublicKey) error {
	if public == nil {
		if pub, err := os.ReadFile(file + ".pub"); err == nil {
			public, _, _, _, _ = ssh.ParseAuthorizedKey(pub)
		}
	}
	if public != nil && l.addFromAgent(file, public, fs.ErrNotExist) == nil {
		return nil
	}
	if err := checkPrivate(file); err != nil {
		return err
	}
	if l.options.Ask == nil {
		return errors.New("is encrypted, and there is no terminal to ask for its passphrase")
	}
	key := &encryptedKey{ctx: l.ctx, options: l.options, file: file, data: data, public: public}
	if public == nil {
		signer, err := key.decrypt()
		if err != nil {
			return err
		}
		l.addKey(file, signer)
		return nil
	}
	l.addKey(file, key)
	return nil
}

// encryptedKey is a signer that asks for its passphrase when it is first used.
type encryptedKey struct {
	ctx     context.Context
	options IdentityOptions
	file    string
	data    []byte
	public  ssh.PublicKey

	mu     sync.Mutex // guards the fields below, and serializes the questions
	signer ssh.Signer // nil until the passphrase is known
	failed error      // permanent failure
}

func (k *encryptedKey) PublicKey() ssh.PublicKey { return k.public }

func (k *encryptedKey) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(random, data, "")
}

// SignWithAlgorithm implements [ssh.AlgorithmSigner], which RSA keys need for SHA-2 (RFC 8332).
func (k *encryptedKey) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := k.open()
	if err != nil {
		return nil, err
	}
	if s, ok := signer.(ssh.AlgorithmSigner); ok {
		return s.SignWithAlgorithm(random, data, algorithm)
	}
	return signer.Sign(random, data)
}

func (k *encryptedKey) open() (ssh.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signer == nil && k.failed == nil {
		k.signer, k.failed = k.decrypt()
		if k.failed == nil && !bytes.Equal(k.signer.PublicKey().Marshal(), k.public.Marshal()) {
			k.signer, k.failed = nil, fmt.Errorf("does not match the public key in %s.pub", k.file)
		}
		if k.failed != nil && k.options.Report != nil && k.ctx.Err() == nil {
			k.options.Report(k.file, k.failed)
		}
	}
	return k.signer, k.failed
}

func (k *encryptedKey) decrypt() (ssh.Signer, error) {
	for try := range passphraseTries {
		passphrase, err := k.options.Ask(k.ctx, k.file, try > 0)
		if err != nil {
			return nil, fmt.Errorf("is encrypted: %w", err)
		}
		if len(passphrase) == 0 { // never valid: the user skips this key
			return nil, errors.New("is encrypted, and no passphrase was given")
		}
		signer, err := ssh.ParsePrivateKeyWithPassphrase(k.data, passphrase)
		clear(passphrase)
		if err == nil {
			return signer, nil
		}
		if !errors.Is(err, x509.IncorrectPasswordError) {
			return nil, fmt.Errorf("cannot be decrypted: %w", err)
		}
	}
	return nil, errors.New("is encrypted, and the passphrases were wrong")
}
