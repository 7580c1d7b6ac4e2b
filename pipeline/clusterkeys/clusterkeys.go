// Package clusterkeys makes the keys and certificates by which the parts of ttydrain on a NATS
// cluster trust each other, in one folder:
//
//	ca.pem, ca.key      a certificate authority, valid for ten years
//	NAME.pem, NAME.key  a certificate, valid for a year, of each role and server
//	ROLE.nk             the seed of the role's NKey
//	users.conf          the public NKeys, for the configuration of NATS servers
//	host_key            the gateway's SSH host key
//	document_key.pem    the key that signs user documents and sessions
//	gap_key.pem         the key by which routers sign gap records, and nothing else
//	admin_token         the token of operators' commands
package clusterkeys

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/authority"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

// roles are the users of the NATS servers: the roles of ttydrain, and the admin, who creates the
// streams.
var roles = [...]string{"gateway", "enrich", "router", "admin"}

// usersFile has the public NKeys for NATS servers.
const usersFile = "users.conf"

// Options say what to make.
type Options struct {
	Dir     string
	Servers []string // host names of servers, each of which gets a certificate
	Owner   *Owner   // of all files but ca.key; nil for the user of this process
	// Made is called with the path of each file that was made.
	Made func(path string)
}

// An Owner is a user and a group, by number.
type Owner struct{ UID, GID int }

// CheckServer reports why a server's certificate can't have a name.
func CheckServer(name string) error {
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") || name == "ca" || slices.Contains(roles[:], name) {
		return errors.New("expected a host's name, and neither ca nor a role")
	}
	return nil
}

// Make makes the files that are missing. Those that exist stay as they are, except for users.conf,
// which is written each time.
func Make(o Options) error {
	for _, name := range o.Servers {
		if err := CheckServer(name); err != nil {
			return fmt.Errorf("server %q: %w", name, err)
		}
	}
	m := maker{Options: o, folder: authority.Folder{Dir: o.Dir, Now: time.Now()}}
	return m.run()
}

// A maker makes the missing files of a folder.
type maker struct {
	Options
	folder authority.Folder
}

func (m *maker) run() error {
	// Everybody may look into the folder: each file has the mode that it needs.
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the keys: %w", err)
	}
	ca, err := m.authority()
	if err != nil {
		return err
	}
	for _, role := range roles {
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if role != "admin" { // which has no admin server
			usage = append(usage, x509.ExtKeyUsageServerAuth)
		}
		if err := m.certificate(ca, role, usage); err != nil {
			return err
		}
	}
	for _, server := range m.Servers {
		// Servers of a cluster are each other's clients.
		if err := m.certificate(ca, server, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}); err != nil {
			return err
		}
	}
	if err := m.nkeys(); err != nil {
		return err
	}
	for _, file := range []struct {
		name   string
		create func(path string) error
	}{
		{"host_key", func(path string) error { _, err := gateway.LoadHostKey(path); return err }},
		{"document_key.pem", func(path string) error { _, err := enrich.LoadKeyRing(path, "EdDSA", true); return err }},
		{"gap_key.pem", func(path string) error {
			ring, err := enrich.LoadKeyRing(m.folder.Path("document_key.pem"), "", false)
			if err != nil {
				return err
			}
			return enrich.CreateGapKey(path, ring.Active)
		}},
		{"admin_token", func(path string) error { return os.WriteFile(path, []byte(rand.Text()+"\n"), 0o600) }},
	} {
		if err := m.file(file.name, file.create); err != nil {
			return err
		}
	}
	return nil
}

// authority reads the certificate of the authority, or makes it with its key.
func (m *maker) authority() (*x509.Certificate, error) {
	ca, err := m.folder.Certificate(authority.CertFile)
	if err == nil && ca == nil {
		ca, err = m.folder.Make("ttydrain")
		m.Made(m.folder.Path(authority.CertFile))
	}
	if err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	return ca, m.chown(authority.CertFile)
}

// certificate makes a certificate with its key.
func (m *maker) certificate(ca *x509.Certificate, name string, usage []x509.ExtKeyUsage) error {
	request := authority.Request{Name: name, CommonName: name, Hosts: []string{name}, Usage: usage}
	if err := m.file(name+".pem", func(string) error { return m.folder.Issue(ca, request) }); err != nil {
		return err
	}
	return m.chown(name + ".key")
}

// nkeys makes the seeds, and writes all public keys to usersFile.
func (m *maker) nkeys() error {
	var users bytes.Buffer
	for _, role := range roles {
		if err := m.file(role+".nk", func(path string) error {
			seed, err := bus.NewNKeySeed()
			if err != nil {
				return err
			}
			return os.WriteFile(path, append(seed, '\n'), 0o600)
		}); err != nil {
			return err
		}
		path := m.folder.Path(role + ".nk")
		seed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		public, err := bus.PublicNKey(seed)
		if err != nil {
			return fmt.Errorf("%s: %w; remove the file to have a new one made", path, err)
		}
		fmt.Fprintf(&users, "TTYDRAIN_%s_NKEY: %s\n", strings.ToUpper(role), public)
	}
	// Written in place: a container that has this very file mounted would not see a new one.
	if err := os.WriteFile(m.folder.Path(usersFile), users.Bytes(), 0o644); err != nil {
		return err
	}
	return m.chown(usersFile)
}

// file makes a file if it is missing, and changes its owner.
func (m *maker) file(name string, create func(path string) error) error {
	path := m.folder.Path(name)
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err == nil {
			m.Made(path)
		}
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return m.chown(name)
}

// chown changes the owner of a file, if there is another one.
func (m *maker) chown(name string) error {
	if m.Owner == nil {
		return nil
	}
	if err := os.Lchown(m.folder.Path(name), m.Owner.UID, m.Owner.GID); err != nil {
		return fmt.Errorf("change the owner of a file: %w", err)
	}
	return nil
}
