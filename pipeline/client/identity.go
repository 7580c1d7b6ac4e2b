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

// ErrNoIdentity is wrapped by the error that there is no key to log in with.
var ErrNoIdentity = errors.New("no key to log in with")

// IdentityOptions say where a person's keys are.
type IdentityOptions struct {
	// Files are the private keys to use, and no others. A public key stands for the private half that
	// the key agent has. None means those of the key agent, then the defaults in Folder. The
	// certificate of a key in FILE is found in FILE-cert.pub.
	Files []string
	// Folder is the person's ~/.ssh. Its default keys are id_ed25519, id_ecdsa and id_rsa.
	Folder string
	// AgentSocket is the key agent's address, as SSH_AUTH_SOCK has it; "" for none.
	AgentSocket string
	// Ask asks for the passphrase of a key file, again after a wrong one; again says so. It is
	// called only when the server has said that it takes the key, where the file tells that much.
	Ask func(ctx context.Context, file string, again bool) ([]byte, error)
	// Report is told, once for each, what cannot be used and why: files that were asked for or
	// exist, and a key agent that does not answer. It may be called during Dial.
	Report func(name string, err error)
}

// defaultKeys are the files in ~/.ssh, in the order of use.
var defaultKeys = [...]string{"id_ed25519", "id_ecdsa", "id_rsa"}

// passphraseTries is how often a passphrase may be typed, as in OpenSSH's client.
const passphraseTries = 3

// maxKeyFile bounds what is read of a key file; the largest RSA keys take some 13 KB.
const maxKeyFile = 1 << 20

// Identities are the keys that a person can log in with.
type Identities struct {
	// Signers are for Options.Signers. They are good until Close.
	Signers []ssh.Signer
	agent   net.Conn // nil without one
}

// LoadIdentities finds a person's keys. The error wraps ErrNoIdentity when there is none; the text
// says where it has looked. ctx is kept for the questions that come later.
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
		for _, s := range l.inAgent {
			l.add(s)
		}
		for _, name := range defaultKeys {
			file := filepath.Join(o.Folder, name)
			err := l.addFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				l.looked = append(l.looked, file+" does not exist")
			} else if err != nil {
				l.unusable(file, err)
			}
		}
	}
	if len(l.signers) == 0 {
		l.closeAgent()
		return nil, fmt.Errorf("%w: %s", ErrNoIdentity, strings.Join(l.looked, "; "))
	}
	return &Identities{Signers: l.signers, agent: l.agent}, nil
}

// Close ends the connection to the key agent, which is needed only until Dial returns.
func (i *Identities) Close() error {
	if i.agent == nil {
		return nil
	}
	return i.agent.Close()
}

// A loader is one call of LoadIdentities.
type loader struct {
	ctx     context.Context
	options IdentityOptions
	agent   net.Conn
	inAgent []ssh.Signer
	signers []ssh.Signer
	seen    map[string]bool // the public keys of signers
	looked  []string        // why there may be no signers
}

func (l *loader) unusable(name string, err error) {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err // the name is told already
	}
	l.looked = append(l.looked, fmt.Sprintf("%s: %v", name, err))
	if l.options.Report != nil {
		l.options.Report(name, err)
	}
}

func (l *loader) dialAgent() {
	if l.options.AgentSocket == "" {
		l.looked = append(l.looked, "no key agent (SSH_AUTH_SOCK is not set)")
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(l.ctx, "unix", l.options.AgentSocket)
	if err != nil {
		l.unusable("key agent (SSH_AUTH_SOCK)", err)
		return
	}
	l.agent = conn
	// An agent that does not answer must not outlast ctx; the connection is closed by then or at the
	// end.
	context.AfterFunc(l.ctx, func() { conn.Close() })
	l.inAgent, err = agent.NewClient(conn).Signers()
	switch {
	case err != nil:
		l.unusable("key agent (SSH_AUTH_SOCK)", err)
		l.closeAgent()
	case len(l.inAgent) == 0:
		l.looked = append(l.looked, "the key agent has no keys")
	}
}

func (l *loader) closeAgent() {
	if l.agent != nil {
		l.agent.Close()
		l.agent = nil
	}
}

// add adds a key, once.
func (l *loader) add(s ssh.Signer) {
	id := string(s.PublicKey().Marshal())
	if !l.seen[id] {
		l.seen[id] = true
		l.signers = append(l.signers, s)
	}
}

// addFile adds the key in a file, the agent's where that has the same one.
func (l *loader) addFile(file string) error {
	data, err := readKeyFile(file)
	if err != nil {
		return err
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return l.addFromAgent(file, public, errors.New("is a public key, and no key agent has its private half: give the private key's file"))
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
	if err := private(file); err != nil {
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

// private says that a key which others can read is not used, as OpenSSH's client has it.
func private(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("is not private: its mode is %04o; run: chmod 600 %q", mode, file)
	}
	return nil
}

func (l *loader) addFromAgent(file string, public ssh.PublicKey, otherwise error) error {
	for _, s := range l.inAgent {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			l.addKey(file, s)
			return nil
		}
	}
	return otherwise
}

// addEncrypted adds a key that needs a passphrase. Where the file, or the one beside it, has the
// public half, nobody is asked before the server has taken that.
func (l *loader) addEncrypted(file string, data []byte, public ssh.PublicKey) error {
	if public == nil {
		if beside, err := os.ReadFile(file + ".pub"); err == nil {
			public, _, _, _, _ = ssh.ParseAuthorizedKey(beside)
		}
	}
	if public != nil && l.addFromAgent(file, public, fs.ErrNotExist) == nil {
		return nil
	}
	if err := private(file); err != nil {
		return err
	}
	if l.options.Ask == nil {
		return errors.New("is encrypted, and nobody can be asked for its passphrase")
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

// An encryptedKey asks for its passphrase when it has to sign.
type encryptedKey struct {
	ctx     context.Context
	options IdentityOptions
	file    string
	data    []byte
	public  ssh.PublicKey

	mu     sync.Mutex // guards what follows, and lets one question be asked at a time
	signer ssh.Signer // nil before the passphrase is known
	failed error      // why it never will be
}

func (k *encryptedKey) PublicKey() ssh.PublicKey { return k.public }

func (k *encryptedKey) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(random, data, "")
}

// SignWithAlgorithm makes RSA keys usable with SHA-2 (RFC 8332).
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
			k.signer, k.failed = nil, fmt.Errorf("is another key than %s.pub says", k.file)
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
		if len(passphrase) == 0 { // no key is encrypted with that: the person wants to go on without it
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
