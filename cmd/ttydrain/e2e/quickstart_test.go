package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/authority"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// codeBlocks are the fenced code blocks of a document: the info string, and the code.
var codeBlocks = regexp.MustCompile("(?ms)^```(\\w[^\n]*)\n(.*?)^```$")

// TestQuickstart runs the commands of the quick starts as they are written, but for the ports: from
// the first command to a session that is delivered, audited and replayed.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	for file, want := range map[string]int{"../../../README.md": 1, "../docs/quickstart.md": 2} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, section := range strings.Split(string(text), "\n## ") {
			if !strings.Contains(section, "```sh serve\n") {
				continue
			}
			ran++
			title, _, _ := strings.Cut(section, "\n")
			t.Run(filepath.Base(file)+"/"+title, func(t *testing.T) {
				t.Parallel()
				newQuickstart(t).run(section)
			})
		}
		if ran != want {
			t.Errorf("%s has %d quick starts, want %d", file, ran, want)
		}
	}
}

// A quickstart is a newcomer in a folder of their own, with no SSH keys.
type quickstart struct {
	t                        *testing.T
	dir                      string
	gateway, admin, receiver string            // addresses
	ports                    *strings.Replacer // replaces the ports in the text by free ones
	printed                  string            // by init
	log                      output            // of serve
}

func newQuickstart(t *testing.T) *quickstart {
	q := &quickstart{t: t, dir: t.TempDir(), gateway: porttest.Reserve(t), admin: porttest.Reserve(t), receiver: porttest.Reserve(t)}
	if err := os.Symlink(program(t), filepath.Join(q.dir, "ttydrain")); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(q.gateway, ":")
	q.ports = strings.NewReplacer("127.0.0.1:2222", q.gateway, "-p 2222", "-p "+port, "127.0.0.1:9464", q.admin, "127.0.0.1:8443", q.receiver,
		"init --yes", "init --yes --listen "+q.gateway+" --admin "+q.admin+" --receiver "+q.receiver)
	return q
}

func (q *quickstart) shell(script string) *exec.Cmd {
	c := exec.Command("bash", "-euo", "pipefail", "-c", q.ports.Replace(script))
	c.Dir = q.dir
	c.Env = append(os.Environ(), "HOME="+q.dir, "SSH_AUTH_SOCK=")
	return c
}

// start starts a command that runs until the end of the test.
func (q *quickstart) start(code string, log *output) {
	c := q.shell("exec " + code)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err != nil {
			q.t.Errorf("%s ended with %v\n%s", code, err, log)
		}
	})
}

// run runs a section of a document.
func (q *quickstart) run(section string) {
	t := q.t
	audited, refused, linked := false, false, false
	began := time.Now()
	for _, block := range codeBlocks.FindAllStringSubmatch(section, -1) {
		info, code := block[1], block[2]
		if word, _, _ := strings.Cut(code, " '"); q.printed != "" && (info == "sh receive" || info == "sh serve" || strings.HasPrefix(code, "ssh ")) &&
			!strings.Contains(q.printed, q.ports.Replace(strings.TrimSpace(word))) {
			t.Errorf("init did not print %s", word)
		}
		switch info {
		case "sh receive":
			q.start(code, new(output))
			await(t, "for the receiver", func() bool { return listens(q.receiver) })
		case "sh serve":
			q.start(code, &q.log)
			await(t, "until serve is ready", func() bool { return ttydrain(t, "ready", q.admin).status == 0 })
		case "sh run":
			r := runTo(t, q.shell(code))
			if r.status != 0 {
				t.Fatalf("exit status %d of\n%s\n%s%s", r.status, code, r.stdout, r.stderr)
			}
			switch {
			case strings.Contains(code, "ttydrain init"):
				q.printed = r.stdout
			case strings.Contains(code, "audit "):
				audited = strings.Contains(r.stdout, "1 session: 1 intact, 0 damaged, 0 incomplete")
			case strings.Contains(code, "ttydrain console"):
				linked = strings.Contains(r.stdout, "/console/link#")
			case strings.HasPrefix(code, "ssh "):
				await(t, "for the end of the session in the drain's file", func() bool {
					return runTo(t, q.shell(`grep -qs '"event":"end"' try/received.ndjson archive/*.ndjson`)).status == 0
				})
			}
		case "sh fails":
			r := runTo(t, q.shell(code))
			refused = r.status == 1 && strings.Contains(r.stdout, "changed: record 2")
		}
	}
	t.Logf("the commands took %s", time.Since(began).Round(10*time.Millisecond))
	if !audited || !refused || !linked {
		t.Errorf("audited: %v, found the changed record: %v, got a link to the console: %v", audited, refused, linked)
	}
	for _, message := range []string{"session started", "session ended"} {
		if n := strings.Count(q.log.String(), message); n != 1 {
			t.Errorf("%q is in the log %d times:\n%s", message, n, &q.log)
		}
	}
}

// listens reports whether something listens at an address.
func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// TestDocumentedConfigurations checks that `check` accepts the whole configurations of the pages.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range codeBlocks.FindAllSubmatch(text, -1) {
			if string(block[1]) != "yaml configuration" {
				continue
			}
			checked++
			dir := t.TempDir()
			if _, err := (authority.Folder{Dir: dir, Now: time.Now()}).Make("ca"); err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{"ttydrain.yaml": block[2], "ada.pub": publicKey(t)}
			for name, data := range files {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			check := exec.Command(program(t), "check", "-c", "ttydrain.yaml")
			check.Dir = dir
			check.Env = append(os.Environ(), "AUDIT_TOKEN=token")
			if r := runTo(t, check); r.status != 0 {
				t.Errorf("%s: %s", page, r.stderr)
			}
		}
	}
	if checked == 0 {
		t.Error("found no configurations: the test looks in the wrong place")
	}
}

func publicKey(t *testing.T) []byte {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(ssh.MarshalAuthorizedKey(key))
}
