package syslog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestCertificatesRotate replaces the files of an open sink: each connection reads them again.
func TestCertificatesRotate(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline, RequireClientCert: true})
			other := syslogtest.NewCertificates(t)
			dir := t.TempDir()
			files := sinks.TLS{CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
			replace := func(file, by string) {
				t.Helper()
				data, err := os.ReadFile(by)
				if err == nil {
					err = os.WriteFile(file+".new", data, 0o600)
				}
				if err == nil {
					err = os.Rename(file+".new", file)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			replace(files.CAFile, other.CAFile)
			replace(files.CertFile, other.ClientCertFile)
			replace(files.KeyFile, other.ClientKeyFile)
			sink := open(t, Options{Address: drain.Address, TLS: files, Framing: server.framing})
			defer sink.Close()
			sink.lifetime = 0 // or what was verified once goes on for its time
			checkVerdict(t, sink.Write(t.Context(), numbered(1, 1, 10)), sinks.Misconfigured, "ca_file")
			replace(files.CAFile, drain.CAFile)
			checkVerdict(t, sink.Write(t.Context(), numbered(1, 1, 10)), sinks.Misconfigured, "client certificate")
			replace(files.CertFile, drain.ClientCertFile)
			replace(files.KeyFile, drain.ClientKeyFile)
			write(t, sink, numbered(1, 1, 10))
			replace(files.CAFile, other.CAFile)
			checkVerdict(t, sink.Write(t.Context(), numbered(11, 1, 10)), sinks.Misconfigured, "ca_file")
			replace(files.CAFile, drain.CAFile)
			write(t, sink, numbered(11, 1, 10))
		})
	}
}
