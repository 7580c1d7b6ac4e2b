package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/authority"
)

// A testCertificate is a certificate with its authority, in files.
type testCertificate struct {
	folder authority.Folder
	ca     *x509.Certificate
	hosts  []string
}

func newCertificate(t *testing.T, hosts ...string) *testCertificate {
	t.Helper()
	c := &testCertificate{folder: authority.Folder{Dir: t.TempDir(), Now: time.Now()}, hosts: hosts}
	var err error
	if c.ca, err = c.folder.Make("test"); err != nil {
		t.Fatal(err)
	}
	c.issue(t)
	return c
}

func (c *testCertificate) issue(t *testing.T) {
	t.Helper()
	if err := c.folder.Issue(c.ca, authority.Request{Name: "server", CommonName: "server", Hosts: c.hosts, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Fatal(err)
	}
}

func (c *testCertificate) load(t *testing.T) *Certificate {
	t.Helper()
	loaded, err := LoadCertificate(c.folder.Path("server.pem"), c.folder.Path("server.key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// rsaCertificate creates a certificate with an RSA key, for the suites of TLS 1.2 that need one.
func rsaCertificate(t *testing.T) *Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"server.pem": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadCertificate(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveTLS serves with a certificate until the end of the test, and returns the address.
func serveTLS(t *testing.T, c *Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // ends with ctx
		ended <- Serve(ctx, l, Options{Metrics: prometheus.NewRegistry(), Certificate: c, Limits: Limits{Connections: 64, PerAddress: 64}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// openssl returns OpenSSL's own view of what it may use, which is everything that it has: weak
// suites and old versions too.
func openssl(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: openssl is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: openssl is not installed")
	}
	return exec.Command(program, args...)
}

// TestTLS tries every version and suite that OpenSSL supports, like testssl.sh: the server accepts
// only TLS 1.2 and 1.3, and in 1.2 only suites with forward secrecy and authenticated encryption.
func TestTLS(t *testing.T) {
	const everything = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
	listed, err := openssl(t, "ciphers", "-s", "-tls1_2", everything).Output()
	if err != nil {
		t.Fatal(err)
	}
	suites := strings.Split(strings.TrimSpace(string(listed)), ":")
	if len(suites) < 50 || !slices.Contains(suites, "ECDHE-RSA-AES128-SHA") {
		t.Fatalf("OpenSSL has the suites %q, too few to test with", suites)
	}
	for name, test := range map[string]struct {
		certificate *Certificate
		kind        string
	}{
		"ECDSA": {newCertificate(t, "localhost").load(t), "ECDSA"},
		"RSA":   {rsaCertificate(t), "RSA"},
	} {
		address := serveTLS(t, test.certificate)
		accepts := func(args ...string) (bool, string) {
			cmd := openssl(t, append([]string{"s_client", "-connect", address, "-legacy_renegotiation"}, args...)...)
			out, _ := cmd.CombinedOutput() // its status says nothing about the handshake
			return bytes.Contains(out, []byte("SSL-Session:")) && !bytes.Contains(out, []byte("Cipher is (NONE)")) && !bytes.Contains(out, []byte("Cipher    : 0000")), string(out)
		}
		for version, want := range map[string]bool{"-tls1": false, "-tls1_1": false, "-tls1_2": true, "-tls1_3": true} {
			ok, out := accepts(version, "-cipher", everything)
			if ok != want {
				t.Errorf("%s: %s is accepted: %t\n%s", name, version, ok, out)
			}
			if ok && (!strings.Contains(out, "Compression: NONE") || strings.Contains(out, "Server Temp Key: DH")) {
				t.Errorf("%s: %s: weak parameters\n%s", name, version, out)
			}
		}
		accepted := 0
		for _, suite := range suites {
			ok, _ := accepts("-tls1_2", "-cipher", suite+":@SECLEVEL=0")
			strong := strings.HasPrefix(suite, "ECDHE-"+test.kind+"-") && !strings.Contains(suite, "ARIA") &&
				(strings.Contains(suite, "GCM") || strings.Contains(suite, "CHACHA20"))
			if ok != strong {
				t.Errorf("%s: %s is accepted: %t", name, suite, ok)
			}
			if ok {
				accepted++
			}
		}
		if accepted != 3 {
			t.Errorf("%s: %d suites of TLS 1.2 are accepted, want 3", name, accepted)
		}
	}
}

// TestCertificateRenewal checks that a new certificate is used from the next connection on, but not
// while only one of its files is replaced.
func TestCertificateRenewal(t *testing.T) {
	c := newCertificate(t, "localhost")
	address := serveTLS(t, c.load(t))
	roots := x509.NewCertPool()
	roots.AddCert(c.ca)
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.ConnectionState().NegotiatedProtocol == "h2" {
			t.Error("the server speaks HTTP/2")
		}
		if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("/healthz: %v, %v", r, err)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	cert, err := os.ReadFile(c.folder.Path("server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.folder.Path("server.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.folder.Path("server.key")); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != first {
		t.Error("another certificate is shown while there is none")
	}
	c.issue(t)
	second := shown()
	if second == first {
		t.Error("the certificate before is shown after it was renewed")
	}
	if err := os.WriteFile(c.folder.Path("server.pem"), cert, 0o600); err != nil { // not the key's
		t.Fatal(err)
	}
	if got := shown(); got != second {
		t.Error("the certificate of another key is shown")
	}
}
