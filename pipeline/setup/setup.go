// Package setup creates a first configuration of ttydrain, with everything that it needs on one
// machine:
//
//	ttydrain.yaml         a configuration with comments: one user, one app, and one HTTPS drain
//	authorized_keys       the public keys of the user
//	id_ed25519            a key pair for the user, if there is none in ~/.ssh
//	host_key              the gateway's SSH host key
//	known_hosts           the same key, for SSH clients
//	ssh_config            the configuration of OpenSSH's client: ssh -F ssh_config APP
//	document_key.pem      the key that signs user documents and the ends of sessions
//	receiver/             an authority and a certificate of a local receiver for the drain
//
// Its result lists the commands that use them: see [Result.WriteNext].
package setup

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// Names of the files in the folder.
const (
	configFile     = "ttydrain.yaml"
	authorizedFile = "authorized_keys"
	identityFile   = "id_ed25519"
	hostKeyFile    = "host_key"
	knownHostsFile = "known_hosts"
	sshConfigFile  = "ssh_config"
	signingKeyFile = "document_key.pem"
	receiverFolder = "receiver"
	recordsFile    = "received.ndjson"
)

// replaced are the files that [Create] replaces.
var replaced = [...]string{configFile, authorizedFile, knownHostsFile, sshConfigFile}

// Options describe what to create. Dir, User and App are required, as are the addresses.
type Options struct {
	Dir   string // created if it is missing
	Force bool   // replace the existing configuration
	// User is the user of the app: the name and the e-mail address.
	User mail.Address
	App  string
	// Gateway, Admin and Receiver are the listen addresses of the SSH server, the admin server and
	// the local receiver.
	Gateway, Admin, Receiver string
	// SSHFolder holds the user's key pairs, as ~/.ssh does.
	SSHFolder string
	// HasAgent reports whether the user has a key agent: its keys have no file.
	HasAgent bool
}

// Result describes what [Create] has created.
type Result struct {
	Options
	Config  string   // path of the configuration
	Created []string // paths of the files, in the order of their creation
	Kept    []string // keys and certificates that existed before
	// Identity is the private key that clients have to name; "" if they find one themselves.
	Identity string
}

// Create creates the missing keys and certificates, and the configuration. It returns an error that
// wraps [fs.ErrExist], and changes nothing, if there is a configuration and o.Force is not set.
// Existing keys and certificates are never replaced: clients and signatures depend on them.
func Create(o Options) (*Result, error) {
	r := &Result{Options: o, Config: filepath.Join(o.Dir, configFile)}
	for _, name := range replaced {
		if _, err := os.Lstat(r.path(name)); err == nil && !o.Force {
			return nil, fmt.Errorf("%s: %w: set --force to replace the configuration (keys and certificates stay), or name another folder",
				r.path(name), fs.ErrExist)
		}
	}
	text, err := configText(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the configuration: %w", err)
	}
	for _, step := range []func() error{r.createIdentity, r.createHostKey, r.createSSHConfig, r.createSigningKey, r.createReceiver} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := r.write(configFile, text); err != nil {
		return nil, err
	}
	if _, err := config.Load(r.Config); err != nil {
		if !o.Force { // so that the next attempt is not refused
			for _, name := range replaced {
				os.Remove(r.path(name))
			}
		}
		return nil, fmt.Errorf("check the new configuration: %w", err)
	}
	return r, nil
}

func (r *Result) path(name string) string { return filepath.Join(r.Dir, name) }

// write replaces a file atomically.
func (r *Result) write(name string, data []byte) error {
	f, err := os.CreateTemp(r.Dir, "."+name+"-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("create %s: %w", r.path(name), err)
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("create %s: %w", r.path(name), err)
	}
	if err := os.Rename(f.Name(), r.path(name)); err != nil {
		return fmt.Errorf("create %s: %w", r.path(name), err)
	}
	r.Created = append(r.Created, r.path(name))
	return nil
}

// note records a file that was created now, or that existed.
func (r *Result) note(name string, existed bool) {
	list := &r.Created
	if existed {
		list = &r.Kept
	}
	*list = append(*list, r.path(name))
}

func (r *Result) exists(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// createIdentity writes the user's public keys. If there is no usable one, it creates a key pair.
func (r *Result) createIdentity() error {
	found, err := findKeys(r.SSHFolder)
	if err != nil {
		return err
	}
	var authorized bytes.Buffer
	for _, key := range found {
		authorized.Write(ssh.MarshalAuthorizedKey(key.public))
	}
	private := func(k publicKey) bool { return k.private != "" }
	switch i := slices.IndexFunc(found, private); {
	case slices.ContainsFunc(found, func(k publicKey) bool { return k.isDefault }):
	case i >= 0:
		r.Identity = found[i].private
	case len(found) > 0 && r.HasAgent:
	default:
		public, err := r.createKeyPair()
		if err != nil {
			return err
		}
		authorized.Write(ssh.MarshalAuthorizedKey(public))
		r.Identity = r.path(identityFile)
	}
	return r.write(authorizedFile, authorized.Bytes())
}

// createKeyPair creates a key pair for the user, or reads the existing one.
func (r *Result) createKeyPair() (ssh.PublicKey, error) {
	path := r.path(identityFile)
	if data, err := os.ReadFile(path); err == nil {
		key, err := ssh.ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w: remove it to create a new key pair", path, err)
		}
		r.note(identityFile, true)
		return key.PublicKey(), nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "ttydrain")
	if err != nil {
		return nil, err
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	if err := r.write(identityFile, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	return public, r.write(identityFile+".pub", ssh.MarshalAuthorizedKey(public))
}

// createHostKey creates the host key, and the known_hosts file for clients.
func (r *Result) createHostKey() error {
	existed := r.exists(hostKeyFile)
	key, err := gateway.LoadHostKey(r.path(hostKeyFile))
	if err != nil {
		return err
	}
	r.note(hostKeyFile, existed)
	address := net.JoinHostPort(r.sshTarget())
	line := knownhosts.Line([]string{knownhosts.Normalize(address)}, key.PublicKey())
	return r.write(knownHostsFile, []byte(line+"\n"))
}

// createSSHConfig creates the configuration of SSH clients. Its paths are absolute, since OpenSSH's
// client resolves others against its working directory.
func (r *Result) createSSHConfig() error {
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return err
	}
	c := ClientConfig{App: r.App, Address: net.JoinHostPort(r.sshTarget()), KnownHosts: filepath.Join(dir, knownHostsFile)}
	if r.Identity != "" {
		if c.Identity, err = filepath.Abs(r.Identity); err != nil {
			return err
		}
	}
	text, err := c.Text()
	if err != nil {
		return err
	}
	return r.write(sshConfigFile, text)
}

func (r *Result) createSigningKey() error {
	existed := r.exists(signingKeyFile)
	if _, err := enrich.LoadKeyRing(r.path(signingKeyFile), "EdDSA", true); err != nil {
		return err
	}
	r.note(signingKeyFile, existed)
	return nil
}

func (r *Result) createReceiver() error {
	existed := r.exists(filepath.Join(receiverFolder, "ca.pem"))
	if err := receive.CreateCertificates(r.path(receiverFolder), r.Receiver); err != nil {
		return fmt.Errorf("the certificates of the receiver: %w", err)
	}
	r.note(receiverFolder, existed)
	return nil
}

// sshTarget returns the host and port at which a client on this machine reaches the gateway.
func (r *Result) sshTarget() (host, port string) { return localTarget(r.Gateway) }

// localTarget returns the host and port at which a listen address is reached on this machine.
func localTarget(listen string) (host, port string) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen, ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return host, port
}

var appForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// CheckApp reports why a text is not the name of an app. Configurations may have more names.
func CheckApp(text string) error {
	if !appForm.MatchString(text) {
		return fmt.Errorf("%q is not the name of an app: expected letters, digits, _ and -, such as web", text)
	}
	return nil
}

// CheckAddress reports why a text is not a listen address.
func CheckAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(port, 10, 16); err == nil && n == 0 {
			err = errors.New("port 0")
		}
	}
	if err != nil {
		return fmt.Errorf("%q is not a listen address: expected a host and a port, such as 127.0.0.1:2222", text)
	}
	return nil
}

// FreeAddress returns the address, or one with the next port at which nothing listens. It returns
// the address itself if there is none among the next hundred.
func FreeAddress(address string) string {
	host, text, err := net.SplitHostPort(address)
	first, portErr := strconv.Atoi(text)
	if cmp.Or(err, portErr) != nil {
		return address
	}
	for port := first; port < min(first+100, 1<<16); port++ {
		candidate := net.JoinHostPort(host, strconv.Itoa(port))
		if l, err := net.Listen("tcp", candidate); err == nil {
			l.Close()
			return candidate
		}
	}
	return address
}
