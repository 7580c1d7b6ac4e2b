package syslogtest

import (
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// Certificates are files in PEM form: an authority of its own, a server certificate by it for
// localhost and 127.0.0.1, and a client certificate by it.
type Certificates struct {
	CAFile                          string
	ServerCertFile, ServerKeyFile   string
	ClientCertFile, ClientKeyFile   string
	ExpiredCertFile, ExpiredKeyFile string // a client certificate that ended yesterday
}

// NewCertificates makes certificates that are removed at the end of the test.
func NewCertificates(t testing.TB) (c Certificates) {
	t.Helper()
	authority := sinktest.NewAuthority(t)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	c.CAFile = authority.File
	c.ServerCertFile, c.ServerKeyFile = authority.Issue(t, tomorrow, "localhost", "127.0.0.1")
	c.ClientCertFile, c.ClientKeyFile = authority.Issue(t, tomorrow)
	c.ExpiredCertFile, c.ExpiredKeyFile = authority.Issue(t, yesterday)
	return c
}
