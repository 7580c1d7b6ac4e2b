package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
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

// TestQuickstart runs the commands of the quick starts as they are written, but for the ports.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../../../README.md", "../docs/quickstart.md"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			runQuickstart(t, file)
		})
	}
}

func runQuickstart(t *testing.T, file string) {
	need(t, "ssh")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(dir, "ttydrain")); err != nil {
		t.Fatal(err)
	}
	gateway, admin := porttest.Reserve(t), porttest.Reserve(t)
	_, port, _ := strings.Cut(gateway, ":")
	ports := strings.NewReplacer("127.0.0.1:2222", gateway, "-p 2222", "-p "+port, "127.0.0.1:9464", admin)
	shell := func(script string) *exec.Cmd {
		c := exec.Command("bash", "-euo", "pipefail", "-c", ports.Replace(script))
		c.Dir = dir
		return c
	}
	served, audited, refused := false, false, false
	for _, block := range codeBlocks.FindAllStringSubmatch(string(text), -1) {
		info, code := block[1], block[2]
		switch info {
		case "sh serve":
			serve := shell("exec " + code)
			var log output
			serve.Stdout, serve.Stderr = &log, &log
			if err := serve.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				serve.Process.Signal(os.Interrupt)
				if err := serve.Wait(); err != nil {
					t.Errorf("serve ended with %v\n%s", err, &log)
				}
			})
			await(t, "until serve is ready", func() bool { return ttydrain(t, "ready", admin).status == 0 })
			served = true
		case "sh run":
			r := runTo(t, shell(code))
			if r.status != 0 {
				t.Fatalf("exit status %d of\n%s\n%s%s", r.status, code, r.stdout, r.stderr)
			}
			if strings.Contains(code, "audit ") {
				audited = strings.Contains(r.stdout, "1 session: 1 intact, 0 damaged, 0 incomplete")
			}
			if strings.Contains(code, "ssh -p") {
				await(t, "for the end of the session in the drain's file", func() bool {
					return runTo(t, shell(`cat archive/*.ndjson | grep -q '"event":"end"'`)).status == 0
				})
			}
		case "sh fails":
			r := runTo(t, shell(code))
			refused = r.status == 1 && strings.Contains(r.stdout, "changed: record 2")
		}
	}
	if !served || !audited || !refused {
		t.Errorf("served: %v, audited: %v, found the changed record: %v", served, audited, refused)
	}
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
