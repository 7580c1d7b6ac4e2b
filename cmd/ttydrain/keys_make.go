package main

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
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/authority"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

// natsUsers are the users of the configuration files for NATS servers: one for each role, and who
// makes the streams.
var natsUsers = [...]string{"gateway", "enrich", "router", "admin"}

// usersFile tells NATS servers the public keys.
const usersFile = "users.conf"

func newKeysMakeCommand() *cobra.Command {
	var servers []string
	var owner string
	c := &cobra.Command{
		Use:   "make DIR",
		Short: "Make the keys and certificates of a cluster",
		Long: "Makes what the parts of ttydrain on a NATS cluster need to trust each other, in the folder DIR. What is there stays as it is.\n\n" +
			"  ca.pem, ca.key            an authority, good for ten years; nobody needs its key but this command\n" +
			"  NAME.pem, NAME.key        a certificate, good for a year, of each role (gateway, enrich, router, admin) and of each --server;\n" +
			"                            those of roles are for NATS, and for admin.tls of a host with the role's name\n" +
			"  ROLE.nk                   the seed of the role's NKey on NATS\n" +
			"  users.conf                the public keys of these, for NATS servers\n" +
			"  host_key                  the gateway's\n" +
			"  document_key.pem          the key that signs user documents and the ends of sessions (EdDSA)\n" +
			"  admin_token               what operators' commands show\n\n" +
			"For another certificate remove its two files, and run this again.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			m := keyMaker{Folder: authority.Folder{Dir: args[0], Now: time.Now()}, uid: -1, gid: -1}
			if owner != "" {
				uid, gid, ok := parseOwner(owner)
				if !ok {
					return usageError{fmt.Errorf("--owner %q is not understood: expected UID:GID, such as 65532:65532", owner)}
				}
				m.uid, m.gid = uid, gid
			}
			for _, name := range servers {
				if name != filepath.Base(name) || strings.HasPrefix(name, ".") || name == "ca" || slices.Contains(natsUsers[:], name) {
					return usageError{fmt.Errorf("--server %q is not understood: expected a host's name, and neither ca nor a role", name)}
				}
			}
			return m.run(servers)
		},
	}
	c.Flags().StringSliceVar(&servers, "server", nil, "the host `NAME` of a server (NATS, syslog), which is its certificate's; may be given again")
	c.Flags().StringVar(&owner, "owner", "", "the `UID:GID` who is to own all files but ca.key; it takes root")
	return c
}

func parseOwner(text string) (uid, gid int, ok bool) {
	user, group, _ := strings.Cut(text, ":")
	u, err1 := strconv.ParseUint(user, 10, 31)
	g, err2 := strconv.ParseUint(group, 10, 31)
	return int(u), int(g), err1 == nil && err2 == nil
}

// A keyMaker makes what is missing in a folder.
type keyMaker struct {
	authority.Folder
	uid, gid int // who is to own the files; -1 for who makes them
}

func (m *keyMaker) run(servers []string) error {
	// Open to all: who may read a file, its own mode says.
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the keys: %w", err)
	}
	ca, err := m.Certificate(authority.CertFile)
	if err == nil && ca == nil {
		ca, err = m.Make("ttydrain")
		m.tell(authority.CertFile)
	}
	if err != nil {
		return fmt.Errorf("the authority: %w", err)
	}
	if err := m.give(authority.CertFile); err != nil {
		return err
	}
	for _, user := range natsUsers {
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if user != "admin" { // which has no admin server
			usage = append(usage, x509.ExtKeyUsageServerAuth)
		}
		if err := m.certificate(ca, authority.Request{Name: user, CommonName: user, Hosts: []string{user}, Usage: usage}); err != nil {
			return err
		}
	}
	for _, name := range servers {
		// Servers of a cluster are each other's clients.
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		if err := m.certificate(ca, authority.Request{Name: name, CommonName: name, Hosts: []string{name}, Usage: usage}); err != nil {
			return err
		}
	}
	if err := m.nkeys(); err != nil {
		return err
	}
	if err := m.make("host_key", func(path string) error { _, err := gateway.LoadHostKey(path); return err }); err != nil {
		return err
	}
	if err := m.make("document_key.pem", func(path string) error { _, err := enrich.LoadKeyRing(path, "EdDSA", true); return err }); err != nil {
		return err
	}
	return m.make("admin_token", func(path string) error { return os.WriteFile(path, []byte(rand.Text()+"\n"), 0o600) })
}

// certificate makes a certificate with its key.
func (m *keyMaker) certificate(ca *x509.Certificate, r authority.Request) error {
	if err := m.make(r.Name+".pem", func(string) error { return m.Issue(ca, r) }); err != nil {
		return err
	}
	return m.give(r.Name + ".key")
}

// nkeys makes the seeds, and tells their public keys, of those too that were there.
func (m *keyMaker) nkeys() error {
	var users bytes.Buffer
	for _, user := range natsUsers {
		if err := m.make(user+".nk", func(path string) error {
			seed, err := bus.NewNKeySeed()
			if err != nil {
				return err
			}
			return os.WriteFile(path, append(seed, '\n'), 0o600)
		}); err != nil {
			return err
		}
		seed, err := os.ReadFile(m.Path(user + ".nk"))
		if err != nil {
			return err
		}
		public, err := bus.PublicNKey(seed)
		if err != nil {
			return fmt.Errorf("%s: %w; remove the file to have a new one made", m.Path(user+".nk"), err)
		}
		fmt.Fprintf(&users, "TTYDRAIN_%s_NKEY: %s\n", strings.ToUpper(user), public)
	}
	// Written in place: where a container has this very file, a new one would not be seen.
	if err := os.WriteFile(m.Path(usersFile), users.Bytes(), 0o644); err != nil {
		return err
	}
	return m.give(usersFile)
}

// make makes a file where it is missing.
func (m *keyMaker) make(name string, create func(path string) error) error {
	path := m.Path(name)
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err == nil {
			m.tell(name)
		}
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return m.give(name)
}

// give gives a file to its owner.
func (m *keyMaker) give(name string) error {
	if m.uid < 0 {
		return nil
	}
	if err := os.Lchown(m.Path(name), m.uid, m.gid); err != nil {
		return fmt.Errorf("give a file to its owner: %w", err)
	}
	return nil
}

func (m *keyMaker) tell(name string) { fmt.Println("made", m.Path(name)) }
