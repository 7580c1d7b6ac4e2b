package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// sshServers are measured in turns.
func sshServers() group {
	return group{
		&sshSubject{key: "ssh/openssh", start: startOpenSSH},
		&sshSubject{key: "ssh/openssh+tlog", start: tlog.start, last: "\r\n"},
		&sshSubject{key: "ssh/openssh+script", start: script.start},
		&sshSubject{key: "ssh/ttydrain", start: startTtydrain},
		&sshSubject{key: "ssh/ttydrain+drain", start: startTtydrainWithDrain},
	}
}

// startOpenSSH starts sshd with nothing of the machine's configuration.
func startOpenSSH(ctx context.Context, _ *settings, dir string, client ssh.Signer) (*sshServer, error) {
	return startSSHD(ctx, dir, client, "")
}

// startSSHD does so with further lines of configuration.
func startSSHD(ctx context.Context, dir string, client ssh.Signer, more string) (*sshServer, error) {
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // where it is, and where people's PATH does not go
	}
	if _, err := os.Stat(path); err != nil {
		return nil, &missingError{"this machine has no sshd (package openssh-server)"}
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	if me.Uid == "0" {
		// sshd wants it when it runs as root; otherwise the system makes it at the start of its own.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	hostKey, authorized, config := filepath.Join(dir, "host_key"), filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "sshd_config")
	if _, err := newKey(hostKey); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
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
	s, err := startServer(ctx, filepath.Join(dir, "log"), path, "-D", "-e", "-f", config)
	if err != nil {
		return nil, err
	}
	return &sshServer{server: s, address: address, user: me.Username}, nil
}

func startTtydrain(ctx context.Context, s *settings, dir string, client ssh.Signer) (*sshServer, error) {
	return startServe(ctx, s, dir, client, "drains: []\n")
}

// startTtydrainWithDrain starts it with a drain, which is what else it does meanwhile.
func startTtydrainWithDrain(ctx context.Context, s *settings, dir string, client ssh.Signer) (*sshServer, error) {
	r, err := startReceiver(ctx, receiverSetup{Protocol: "https", Dir: dir, Unit: jsonUnit, Last: jsonLast})
	if err != nil {
		return nil, err
	}
	server, err := startServe(ctx, s, dir, client, fmt.Sprintf("drains:\n  - {name: bench, type: https, url: 'https://%s/', ca_file: %s, format: %s}\n",
		r.Address, r.CAFile, https.NDJSON))
	if err != nil {
		r.close()
		return nil, err
	}
	server.release = func() { r.close() }
	return server, nil
}

// binary is the ttydrain to measure.
func (s *settings) binary(ctx context.Context) (string, error) {
	if s.ttydrain != "" {
		return s.ttydrain, nil
	}
	binary := filepath.Join(s.dir, "ttydrain")
	if _, err := os.Stat(binary); err != nil {
		// In the folder of ttydrain's own module, so that it has the dependencies that it is shipped with.
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ttydrain/ttydrain").Output()
		if err != nil {
			return "", fmt.Errorf("find the source of ttydrain (run the benchmark in its folder, or set -ttydrain): %w", err)
		}
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/ttydrain")
		build.Dir = strings.TrimSpace(string(root))
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build ttydrain: %w\n%s", err, out)
		}
	}
	return binary, nil
}

// startServe runs `ttydrain serve` as it is by default: everything in one process, with the
// embedded server, which syncs every write.
func startServe(ctx context.Context, s *settings, dir string, client ssh.Signer, drains string) (*sshServer, error) {
	binary, err := s.binary(ctx)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress(ctx)
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
	config := filepath.Join(dir, "ttydrain.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	server, err := startServer(ctx, filepath.Join(dir, "log"), binary, "serve", "-c", config)
	if err != nil {
		return nil, err
	}
	if err := server.await(ctx, func() error { return isReady("http://" + admin + "/readyz") }); err != nil {
		server.stop()
		return nil, err
	}
	return &sshServer{server: server, address: address, user: "web"}, nil
}

func isReady(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}

// newKey makes a key, which is also put into a file.
func newKey(file string) (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "bench")
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

// freeAddress is an address of this machine's own that is kept for a server until ctx ends.
func freeAddress(ctx context.Context) (string, error) {
	address, release, err := porttest.Hold()
	if err == nil {
		context.AfterFunc(ctx, release)
	}
	return address, err
}
