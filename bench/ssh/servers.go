package ssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// Servers returns the servers that are compared.
func Servers() measure.Group {
	return measure.Group{
		&Subject{key: "ssh/openssh", start: startOpenSSH},
		&Subject{key: "ssh/openssh+tlog", start: tlog.start, last: "\r\n"},
		&Subject{key: "ssh/openssh+script", start: script.start},
		&Subject{key: "ssh/ttydrain", start: startAlone},
		&Subject{key: "ssh/ttydrain+drain", start: startWithDrain},
	}
}

// startOpenSSH starts sshd without the machine's configuration.
func startOpenSSH(ctx context.Context, _ *measure.Settings, dir string, client ssh.Signer) (*Server, error) {
	return startSSHD(ctx, dir, client, "")
}

// startSSHD is like startOpenSSH, with more lines of configuration.
func startSSHD(ctx context.Context, dir string, client ssh.Signer, more string) (*Server, error) {
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // not in the PATH of most users
	}
	if _, err := os.Stat(path); err != nil {
		return nil, measure.Missing("this machine has no sshd (package openssh-server)")
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	if me.Uid == "0" {
		// sshd needs this folder as root. It is created when the system starts its own sshd.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	hostKey, authorized, config := filepath.Join(dir, "host_key"), filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "sshd_config")
	if _, err := NewKey(hostKey); err != nil {
		return nil, err
	}
	address, err := process.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(authorized, ssh.MarshalAuthorizedKey(client.PublicKey()), 0o600); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(address)
	text := fmt.Sprintf("ListenAddress %s\nPort %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"+
		"PermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\nUseDNS no\nMaxStartups 1000\n", host, port, hostKey, authorized) + more
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s, err := process.StartServer(ctx, filepath.Join(dir, "log"), path, "-D", "-e", "-f", config)
	if err != nil {
		return nil, err
	}
	return &Server{Server: s, Address: address, User: me.Username}, nil
}

// startAlone starts ttydrain without a drain.
func startAlone(ctx context.Context, s *measure.Settings, dir string, client ssh.Signer) (*Server, error) {
	return startServe(ctx, s, dir, client, "drains: []\n")
}

// startWithDrain starts ttydrain with a drain, to which it delivers at the same time.
func startWithDrain(ctx context.Context, s *measure.Settings, dir string, client ssh.Signer) (*Server, error) {
	r, err := receivers.Open(ctx, s, receivers.HTTPS)
	if err != nil {
		return nil, err
	}
	server, err := startServe(ctx, s, dir, client, fmt.Sprintf("drains:\n  - {name: bench, type: https, url: 'https://%s/', ca_file: %s, format: %s}\n",
		r.Address, r.CAFile, https.NDJSON))
	if err != nil {
		r.Close()
		return nil, err
	}
	server.Release = func() { r.Close() }
	return server, nil
}

// startServe runs `ttydrain serve` with all roles in one process and the embedded NATS server,
// which syncs every write.
func startServe(ctx context.Context, s *measure.Settings, dir string, client ssh.Signer, drains string) (*Server, error) {
	binary, err := s.Binary(ctx)
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := process.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`store: ./data
sync_interval: always
gateway: {listen: '%s', host_key: ./host_key, max_startups: 1000, max_connections_per_user: 100000, max_sessions_per_user: 100000}
admin: {listen: '%s'}
user_document: {issuer: 'https://auth.example.com', signing_key: ./document_key.pem}
users:
  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [%s], apps: [web]}
stacks:
  - {name: default, plan: enterprise, sessions: 10000}
apps:
  - {name: web, stack: default, runtime: sandbox, command: [/bin/sh]}
`, address, admin, strconv.Quote(string(ssh.MarshalAuthorizedKey(client.PublicKey())))) + drains
	server, err := process.StartTTYDrain(ctx, binary, dir, admin, text)
	if err != nil {
		return nil, err
	}
	return &Server{Server: server, Address: address, User: "web"}, nil
}

// NewKey creates a key and writes it to a file.
func NewKey(file string) (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "bench")
	if err != nil {
		return nil, fmt.Errorf("create a key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}
