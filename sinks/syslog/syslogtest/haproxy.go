package syslogtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// StartHAProxy starts haproxy as a load balancer that terminates TLS, for one server. It uses the
// server's certificate, and abandons a server that refuses connections after three seconds.
func StartHAProxy(t testing.TB, s *Server) (address string) {
	t.Helper()
	path, ok := program("haproxy")
	if !ok {
		absent(t, "haproxy", "install haproxy")
	}
	dir := t.TempDir()
	var pair []byte
	for _, file := range []string{s.ServerCertFile, s.ServerKeyFile} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, data...)
	}
	if err := os.WriteFile(filepath.Join(dir, "pair.pem"), pair, 0o600); err != nil {
		t.Fatal(err)
	}
	address = porttest.Reserve(t)
	config := fmt.Sprintf(`defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend syslog
  bind %s ssl crt %s
  default_backend servers
backend servers
  server one %s ssl ca-file %s
`, address, filepath.Join(dir, "pair.pem"), s.Address, s.CAFile)
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, "-db", "-f", file)
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			command.Process.Kill()
			command.Wait()
			t.Fatalf("haproxy does not listen: %s", output.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
