package sinks_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// fingerprintOf returns the fingerprint of a server's certificate, as a client sees it.
func fingerprintOf(t *testing.T, address string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

func withColons(digits string) string {
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, strings.ToUpper(digits[i:i+2]))
	}
	return strings.Join(pairs, ":")
}

// TestFingerprint pins certificates that nothing else would verify: of an unknown authority,
// without any name.
func TestFingerprint(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		only := func(c *tls.Config) { c.MaxVersion = version }
		nameless := server(t, authority, only, hour())
		other := server(t, authority, only, hour(), "127.0.0.1")
		expired := server(t, authority, only, time.Now().Add(-time.Minute))
		pin := fingerprintOf(t, nameless.Listener.Addr().String())
		otherPin := fingerprintOf(t, other.Listener.Addr().String())
		for name, test := range map[string]struct {
			pin, url string
			want     string // of the error; "" for none
		}{
			"as digits":   {pin, nameless.URL, ""},
			"with colons": {withColons(pin), nameless.URL, ""},
			"one of two":  {otherPin + ", " + pin, nameless.URL, ""},
			"another":     {pin, other.URL, "has the SHA-256 fingerprint " + otherPin},
			"expired":     {fingerprintOf(t, expired.Listener.Addr().String()), expired.URL, "expired "},
		} {
			transport, err := sinks.TLS{FingerprintSHA256: test.pin}.Transport(time.Minute)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for range 2 { // the second one may resume a session
				_, err = get(t, transport, test.url)
				transport.CloseIdleConnections()
				if test.want == "" {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				if err == nil {
					t.Fatalf("%s: the request succeeded", name)
				}
				e := sinks.TransportError(t.Context(), "send", err)
				sinktest.CheckAdvice(t, e)
				if e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), test.want) {
					t.Errorf("%s: %v, want …%s…", name, e, test.want)
				}
			}
			transport.Close()
		}
	}
	for _, bad := range []string{"", "x", strings.Repeat("a", 63), strings.Repeat("ab", 33), strings.Repeat("ab", 32) + ",", strings.Repeat("zz", 32)} {
		if _, err := (sinks.TLS{FingerprintSHA256: bad}).Config(); (err == nil) != (bad == "") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := (sinks.TLS{FingerprintSHA256: strings.Repeat("ab", 32), CAFile: authority.File}).Config(); err == nil {
		t.Error("a fingerprint is taken beside ca_file")
	}
}

// TestCertificateWithoutSAN: the advice of the error works.
func TestCertificateWithoutSAN(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	drain := server(t, authority, nil, hour())
	transport, err := sinks.TLS{CAFile: authority.File}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, err = get(t, transport, drain.URL)
	if err == nil {
		t.Fatal("the request succeeded")
	}
	e := sinks.TransportError(t.Context(), "send", err)
	sinktest.CheckAdvice(t, e)
	_, after, found := strings.Cut(e.Message(), "set fingerprint_sha256 to ")
	if e.Verdict != sinks.Misconfigured || !found || !strings.Contains(e.Message(), "no subject alternative name") || strings.Contains(e.Message(), "set server_name") {
		t.Fatalf("%v", e)
	}
	pinned, err := sinks.TLS{FingerprintSHA256: strings.TrimRight(strings.Fields(after)[0], ",")}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer pinned.Close()
	if _, err := get(t, pinned, drain.URL); err != nil {
		t.Errorf("the advice does not help: %v", err)
	}
}

// TestALPN has drains that speak only protocols of their own.
func TestALPN(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, hour(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	drain, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends when drain is closed
		for {
			conn, err := drain.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // which fails
			conn.Close()
		}
	})
	defer serving.Wait()
	defer drain.Close()
	transport, err := sinks.TLS{CAFile: authority.File}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, err = get(t, transport, "https://"+drain.Addr().String())
	if err == nil {
		t.Fatal("the request succeeded")
	}
	e := sinks.TransportError(t.Context(), "send", err)
	sinktest.CheckAdvice(t, e)
	if e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), "(ALPN)") {
		t.Errorf("%v, from %v", e, err)
	}
}

// TestRenegotiation has the server of OpenSSL, which asks to renegotiate when it has the request.
func TestRenegotiation(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed")
	}
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, hour(), "127.0.0.1")
	address := porttest.Reserve(t)
	command := exec.CommandContext(t.Context(), openssl, "s_server", "-accept", address, "-cert", cert, "-key", key, "-tls1_2")
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() { // ends with the process, or when it has the request
		seen := make([]byte, 0, 64<<10)
		for !strings.Contains(string(seen), "GET / HTTP/1.1") {
			part := make([]byte, 4096)
			n, err := output.Read(part)
			if err != nil {
				asked <- err
				return
			}
			seen = append(seen, part[:n]...)
		}
		_, err := input.Write([]byte("R\n"))
		asked <- err
	}()
	defer func() {
		command.Process.Kill()
		<-asked
		command.Wait()
	}()
	for end := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	transport, err := sinks.TLS{CAFile: authority.File}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, err = get(t, transport, "https://"+address+"/")
	if err == nil {
		t.Fatal("the request succeeded")
	}
	e := sinks.TransportError(t.Context(), "send", err)
	sinktest.CheckAdvice(t, e)
	if e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), "asks to renegotiate TLS") {
		t.Errorf("%v, from %v", e, err)
	}
}
