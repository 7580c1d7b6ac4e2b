package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/operate"
)

func TestPrintStarted(t *testing.T) {
	var out bytes.Buffer
	err := printStarted(&out, []address{{"SSH", "127.0.0.1:2222"}, {"Console", "http://127.0.0.1:9464/console/"}}, []operate.DrainStatus{
		{Name: "siem", State: "running"},
		{Name: "audit", State: "failing", LagRecords: 7, LastError: "connection refused\x1b[2J", LastErrorAt: time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "has started\n\n")
	want := "  SSH          127.0.0.1:2222\n" +
		"  Console      http://127.0.0.1:9464/console/\n" +
		"  Drain siem   running\n" +
		"  Drain audit  failing, 7 records not delivered yet: connection refused"
	if !strings.HasPrefix(got, want) || strings.Contains(got, "\x1b") {
		t.Errorf("got\n%q\nwant it to begin with\n%q", got, want)
	}
}

func TestStartErrorsNameTheSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(minimalConfig(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for cause, want := range map[error]string{
		syscall.EACCES:  "let the user of this process write there",
		syscall.ENOENT:  "cannot be created there",
		syscall.EROFS:   "mounted read-only",
		syscall.ENOSPC:  "free space",
		syscall.ENOTDIR: "set another folder",
	} {
		err := storeError(c, fmt.Errorf("open the store: %w", cause))
		if got := err.Error(); !strings.HasPrefix(got, path+":1:1: store: open the store: ") || !strings.Contains(got, want) || !errors.Is(err, cause) {
			t.Errorf("%v: %q, want %q in it", cause, got, want)
		}
	}
	for address, want := range map[string]string{
		taken.Addr().String(): "address already in use: is another ttydrain running? stop what listens there (ss -ltnp",
		"192.0.2.1:22":        "the address is not one of this machine",
	} {
		l, err := listen(c, "gateway.listen", address)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", address)
		} else if got := err.Error(); !strings.HasPrefix(got, path+":1:19: gateway.listen: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", address, got, want)
		}
	}
}

// minimalConfig returns a configuration with all that is required.
func minimalConfig(t *testing.T) string {
	t.Helper()
	key, err := os.ReadFile("../../pipeline/config/testdata/keys/ada.pub")
	if err != nil {
		t.Fatal(err)
	}
	return "gateway: {listen: 127.0.0.1:2222}\nuser_document: {issuer: https://auth.example.com}\n" +
		"users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [\"" + strings.TrimSpace(string(key)) + "\"], apps: [web]}]\n" +
		"stacks: [{name: default}]\napps: [{name: web, stack: default}]\n"
}
