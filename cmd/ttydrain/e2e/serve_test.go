package e2e

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A site is a folder with a configuration and its files: the user Ada with a key, an app "web"
// whose sessions are a bash with the prompt "ready> ", and an app "api" that Ada may not open.
type site struct {
	t       testing.TB
	program string // the binary to serve with
	dir     string
	config  string               // the file
	store   string               // the folder
	key     string               // the file of Ada's private key
	as      *syscall.SysProcAttr // the user that serves, nil for the test's
}

// A siteOption changes the configuration.
type siteOption func(*siteSettings)

type siteSettings struct {
	drains    []string          // entries of drains, in YAML
	algorithm string            // of the user document
	env       map[string]string // of the app
	listen    string            // of the gateway
	fast      bool              // without the race detector
	settings  string            // more of them, in YAML
	gateway   string            // more of the gateway's
	app       []string          // more of the app's
}

func withDrains(entries ...string) siteOption {
	return func(s *siteSettings) { s.drains = append(s.drains, entries...) }
}

func withAlgorithm(name string) siteOption { return func(s *siteSettings) { s.algorithm = name } }

// withEnv sets a variable of the app's sessions.
func withEnv(name, value string) siteOption { return func(s *siteSettings) { s.env[name] = value } }

func withListen(address string) siteOption { return func(s *siteSettings) { s.listen = address } }

// withSettings adds lines to the configuration.
func withSettings(text string) siteOption { return func(s *siteSettings) { s.settings += text + "\n" } }

// withGateway adds settings to the gateway's, each after a comma.
func withGateway(text string) siteOption { return func(s *siteSettings) { s.gateway = text } }

// withApp adds settings to the app's, each of a line.
func withApp(lines ...string) siteOption {
	return func(s *siteSettings) { s.app = append(s.app, lines...) }
}

func withoutRaces(s *siteSettings) { s.fast = true }

func newSite(t testing.TB, options ...siteOption) *site {
	t.Helper()
	settings := siteSettings{
		algorithm: "EdDSA", listen: "127.0.0.1:0",
		env: map[string]string{"PS1": "ready> ", "LANG": "C.UTF-8", "HISTFILE": ""},
	}
	for _, o := range options {
		o(&settings)
	}
	dir := t.TempDir()
	s := &site{t: t, dir: dir, config: filepath.Join(dir, "ttydrain.yaml"), store: filepath.Join(dir, "data")}
	if settings.fast {
		s.program = fastProgram(t)
	} else {
		s.program = program(t)
	}
	s.key = s.newKey("ada")
	var b strings.Builder
	fmt.Fprintf(&b, `store: ./data
# All clients of a test come from one address, as from behind a proxy, and tests find the operation in the banner.
gateway: {listen: %q, host_key: ./host_key, banner: always, max_startups: 500, per_source_penalties: {enabled: false}%s}
admin: {listen: 127.0.0.1:0}
user_document: {issuer: https://auth.example.com, signing_key: ./document_key.pem, algorithm: %s}
users:
  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}
stacks:
  - {name: default, plan: growth}
apps:
  - name: web
    id: app-7
    stack: default
    command: [/bin/bash, --norc, --noprofile]
`, settings.listen, settings.gateway, settings.algorithm)
	for _, line := range settings.app {
		b.WriteString("    " + line + "\n")
	}
	b.WriteString("    env:\n")
	for name, value := range settings.env {
		quoted, _ := json.Marshal(value) // a JSON string is one of YAML's
		fmt.Fprintf(&b, "      %s: %s\n", name, quoted)
	}
	b.WriteString("  - {name: api, stack: default, command: [/bin/bash]}\ndrains:")
	if len(settings.drains) == 0 {
		b.WriteString(" []\n")
	}
	for _, entry := range settings.drains {
		b.WriteString("\n  - " + entry)
	}
	s.write(s.config, b.String()+"\n"+settings.settings)
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// newKey makes a key: NAME and NAME.pub in the site's folder.
func (s *site) newKey(name string) string {
	s.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		s.t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(s.dir, name)
	s.write(file, string(pem.EncodeToMemory(block)))
	s.write(file+".pub", string(ssh.MarshalAuthorizedKey(public)))
	return file
}

// A server is `ttydrain serve` as a process.
type server struct {
	site       *site
	ssh, admin string // its addresses
	cmd        *exec.Cmd
	log        *output       // standard error
	done       chan struct{} // closed when the process has ended
}

// serve starts `ttydrain serve` and waits until it is ready. It ends with the test at the latest.
func (s *site) serve(args ...string) *server {
	s.t.Helper()
	v := s.launch(args...)
	v.listens()
	if status, body := v.get("/readyz"); status != http.StatusOK {
		s.t.Fatalf("/readyz: %d %s", status, body)
	}
	return v
}

// listens waits until the server listens, and reads its addresses.
func (v *server) listens() {
	v.site.t.Helper()
	ready := struct{ Msg, SSH, Admin string }{}
	await(v.site.t, "for serve to be ready", func() bool {
		log := v.log.String()
		for lines := bufio.NewScanner(strings.NewReader(log)); lines.Scan(); {
			if json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Msg == "ready" {
				return true
			}
		}
		select {
		case <-v.done:
			v.site.t.Fatalf("serve ended: %s\n%s", v.cmd.ProcessState, log)
		default:
		}
		return false
	})
	v.ssh, v.admin = ready.SSH, ready.Admin
	if v.ssh != "" { // and it is no other role
		v.site.write(v.knownHosts(), v.site.knownHost(v.ssh))
	}
}

// launch starts `ttydrain serve` without waiting for it.
func (s *site) launch(args ...string) *server {
	s.t.Helper()
	v := &server{site: s, log: new(output), done: make(chan struct{})}
	v.cmd = exec.Command(s.program, append([]string{"serve", "-c", s.config, "--log-format", "json"}, args...)...)
	v.cmd.SysProcAttr = s.as
	v.cmd.Stdout, v.cmd.Stderr = v.log, v.log
	if err := v.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup ends
		defer close(v.done)
		v.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		v.cmd.Process.Kill()
		<-v.done
		if log := v.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") || s.t.Failed() {
			s.t.Errorf("what serve said:\n%s", log[max(0, len(log)-1<<14):])
		}
	})
	return v
}

// stop asks the process to stop, and returns its exit status.
func (v *server) stop() int {
	v.site.t.Helper()
	v.signal(syscall.SIGTERM)
	return v.status()
}

func (v *server) signal(signal os.Signal) {
	v.site.t.Helper()
	if err := v.cmd.Process.Signal(signal); err != nil {
		v.site.t.Fatal(err)
	}
}

// status waits for the end of the process and returns its exit status, or -1 for a signal.
func (v *server) status() int {
	v.site.t.Helper()
	select {
	case <-v.done:
		return v.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		v.site.t.Fatalf("serve did not end within %s", patience)
		return 0
	}
}

// get sends a request to the admin address.
func (v *server) get(path string) (status int, body []byte) {
	v.site.t.Helper()
	client := http.Client{Timeout: patience}
	r, err := client.Get("http://" + v.admin + path)
	if err != nil {
		v.site.t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err = io.ReadAll(r.Body); err != nil {
		v.site.t.Fatal(err)
	}
	return r.StatusCode, body
}

// delivered returns the number of records that a drain has accepted since the start, by the
// metrics.
func (v *server) delivered(drain string) int {
	v.site.t.Helper()
	_, body := v.get("/metrics")
	for line := range bytes.Lines(body) {
		series, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if series == fmt.Sprintf("ttydrain_drain_records_delivered_total{drain=%q}", drain) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				v.site.t.Fatal(err)
			}
			return int(n)
		}
	}
	v.site.t.Fatalf("no metric says how much the drain %s has taken:\n%s", drain, body)
	return 0
}

// knownHosts returns the file with the host key of the server.
func (v *server) knownHosts() string {
	_, port, _ := strings.Cut(v.ssh, ":")
	return filepath.Join(v.site.dir, "known_hosts."+port)
}

// knownHost returns the line for the host key of the site at an address.
func (s *site) knownHost(address string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "host_key"))
	if err != nil {
		s.t.Fatal(err)
	}
	host, err := ssh.ParsePrivateKey(data)
	if err != nil {
		s.t.Fatal(err)
	}
	return knownhosts.Line([]string{address}, host.PublicKey()) + "\n"
}

// openssh returns OpenSSH's client with one key, without configuration files of this machine, and
// without messages of its own.
func (v *server) openssh(key string, args ...string) *exec.Cmd {
	t := v.site.t
	t.Helper()
	program := need(t, "ssh")
	_, port, _ := strings.Cut(v.ssh, ":")
	cmd := exec.Command(program, append([]string{
		"-F", "none", "-p", port, "-i", key,
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + v.knownHosts(), "-o", "GlobalKnownHostsFile=none",
	}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color"}
	return cmd
}
