package sinks_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func hour() time.Time { return time.Now().Add(time.Hour) }

func TestConfigErrors(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, hour())
	_, otherKey := authority.Issue(t, hour())
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for _, c := range []struct {
		name string
		tls  sinks.TLS
		want []string // all in the message
	}{
		{"no CA", sinks.TLS{CAFile: missing}, []string{"ca_file", missing, "does not exist"}},
		{"CA is no certificate", sinks.TLS{CAFile: key}, []string{"ca_file", key, "BEGIN CERTIFICATE"}},
		{"CA is a folder", sinks.TLS{CAFile: filepath.Dir(key)}, []string{"ca_file", filepath.Dir(key), "cannot be read"}},
		{"no certificate", sinks.TLS{CertFile: missing, KeyFile: key}, []string{"cert_file", missing, "does not exist"}},
		{"no key", sinks.TLS{CertFile: cert, KeyFile: missing}, []string{"key_file", missing, "does not exist"}},
		{"certificate alone", sinks.TLS{CertFile: cert}, []string{"cert_file", "without key_file", "expected both"}},
		{"key alone", sinks.TLS{KeyFile: key}, []string{"key_file", "without cert_file", "expected both"}},
		{"not a pair", sinks.TLS{CertFile: cert, KeyFile: otherKey}, []string{cert, otherKey, "does not match"}},
		{"the wrong way round", sinks.TLS{CertFile: key, KeyFile: cert}, []string{key, cert, "PEM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, make := range map[string]func() error{
				"Config":    func() error { _, err := c.tls.Config(); return err },
				"Transport": func() error { _, err := c.tls.Transport(time.Second); return err },
			} {
				err := make()
				if err == nil {
					t.Fatalf("%s: no error", name)
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not say %q", name, err, want)
					}
				}
			}
		})
	}
}

func TestConfigVerifies(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, hour())
	for _, settings := range []sinks.TLS{{}, {CAFile: authority.File, CertFile: cert, KeyFile: key, ServerName: "drain"}} {
		config, err := settings.Config()
		if err != nil {
			t.Fatal(err)
		}
		if config.InsecureSkipVerify || config.MinVersion != tls.VersionTLS12 || config.ServerName != settings.ServerName {
			t.Errorf("%+v: skips verification: %v, minimum version %x, server name %q", settings, config.InsecureSkipVerify, config.MinVersion, config.ServerName)
		}
	}
}

// server is an HTTPS server with a certificate of the authority.
func server(t *testing.T, a *sinktest.Authority, change func(*tls.Config), until time.Time, hosts ...string) *httptest.Server {
	t.Helper()
	cert, key := a.Issue(t, until, hosts...)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("Serial", r.TLS.PeerCertificates[0].SerialNumber.String())
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	if change != nil {
		change(s.TLS)
	}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// get sends one request and returns the serial of the client certificate that the server saw.
func get(t *testing.T, transport http.RoundTripper, url string) (serial string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	response.Body.Close()
	return response.Header.Get("Serial"), nil
}

func replace(t *testing.T, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func serial(t *testing.T, certFile, keyFile string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

func TestClientCertificateRotates(t *testing.T) {
	authority := sinktest.NewAuthority(t)
	s := server(t, authority, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool
	}, hour(), "127.0.0.1")
	cert, key := authority.Issue(t, hour())
	nextCert, nextKey := authority.Issue(t, hour())
	first, second := serial(t, cert, key), serial(t, nextCert, nextKey)
	transport, err := sinks.TLS{CAFile: authority.File, CertFile: cert, KeyFile: key}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	seen := func(want string) {
		t.Helper()
		transport.CloseIdleConnections() // the next request makes a connection
		got, err := get(t, transport, s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("the drain saw certificate %s, want %s", got, want)
		}
	}
	seen(first)
	replace(t, cert, nextCert)
	seen(first) // the key is still the old one's
	replace(t, key, nextKey)
	seen(second)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	seen(second)
}

func TestAuthorityRotates(t *testing.T) {
	before, after := sinktest.NewAuthority(t), sinktest.NewAuthority(t)
	oldServer, newServer := server(t, before, nil, hour(), "127.0.0.1"), server(t, after, nil, hour(), "127.0.0.1")
	file := filepath.Join(t.TempDir(), "ca.pem")
	replace(t, file, before.File)
	transport, err := sinks.TLS{CAFile: file}.Transport(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	check := func(trusted, distrusted *httptest.Server) {
		t.Helper()
		transport.Renew()
		if _, err := get(t, transport, trusted.URL); err != nil {
			t.Fatalf("the trusted drain: %v", err)
		}
		_, err := get(t, transport, distrusted.URL)
		if e := sinks.TransportError(t.Context(), "send", err); e.Verdict != sinks.Misconfigured || !strings.Contains(e.Message(), "ca_file") {
			t.Fatalf("the other drain: %v: %v", e.Verdict, e)
		}
	}
	check(oldServer, newServer)
	if err := os.WriteFile(file, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(oldServer, newServer)
	// As Kubernetes does it: another file under the same name.
	next := file + ".new"
	replace(t, next, after.File)
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	check(newServer, oldServer)
}

func TestTransportErrorTLS(t *testing.T) {
	authority, other := sinktest.NewAuthority(t), sinktest.NewAuthority(t)
	clientCert, clientKey := other.Issue(t, hour())
	expiredCert, expiredKey := authority.Issue(t, time.Now().Add(-time.Minute))
	demand := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool
			c.MinVersion, c.MaxVersion = version, version
		}
	}
	good := server(t, authority, nil, hour(), "127.0.0.1")
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	trusting := sinks.TLS{CAFile: authority.File}
	for _, c := range []struct {
		name string
		tls  sinks.TLS
		url  string
		want string
	}{
		{"unknown authority", sinks.TLS{CAFile: other.File}, good.URL, "ca_file holds another certificate of the same name"},
		{"system's authorities", sinks.TLS{}, good.URL, "ca_file"},
		{"host name", trusting, server(t, authority, nil, hour(), "other.example.com").URL, "another host name"},
		{"server name", sinks.TLS{CAFile: authority.File, ServerName: "drain.example.com"}, good.URL, "set server_name"},
		{"expired", trusting, server(t, authority, nil, time.Now().Add(-time.Minute), "127.0.0.1").URL, "expired"},
		{"client certificate demanded, TLS 1.2", trusting, server(t, authority, demand(tls.VersionTLS12), hour(), "127.0.0.1").URL, "set cert_file and key_file"},
		{"client certificate demanded, TLS 1.3", trusting, server(t, authority, demand(tls.VersionTLS13), hour(), "127.0.0.1").URL, "demands a client certificate: set cert_file and key_file"},
		{"client certificate of another authority", sinks.TLS{CAFile: authority.File, CertFile: clientCert, KeyFile: clientKey},
			server(t, authority, demand(tls.VersionTLS13), hour(), "127.0.0.1").URL, "client certificate"},
		{"client certificate expired", sinks.TLS{CAFile: authority.File, CertFile: expiredCert, KeyFile: expiredKey},
			server(t, authority, demand(tls.VersionTLS13), hour(), "127.0.0.1").URL, "client certificate"},
		{"TLS 1.1 only", trusting, server(t, authority, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, hour(), "127.0.0.1").URL, "allow TLS 1.2"},
		{"no TLS", trusting, strings.Replace(plain.URL, "http:", "https:", 1), "does not speak TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport, err := c.tls.Transport(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.Close()
			_, err = get(t, transport, c.url)
			if err == nil {
				t.Fatal("the request succeeded")
			}
			e := sinks.TransportError(t.Context(), "send to drain", err)
			sinktest.CheckAdvice(t, e)
			if e.Verdict != sinks.Misconfigured || !strings.HasPrefix(e.Message(), "send to drain: ") || !strings.Contains(e.Message(), c.want) {
				t.Errorf("%v: %v\nwant %v: …%s…\nfrom %T %v", e.Verdict, e, sinks.Misconfigured, c.want, err, err)
			}
		})
	}
}

func TestTransportErrorRetry(t *testing.T) {
	_, refused := net.Dial("tcp", porttest.Reserve(t))
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"refused", refused, "nothing listens there"},
		{"no such host", &net.DNSError{Err: "no such host", Name: "drain.invalid", IsNotFound: true}, "host name is not known"},
		{"DNS broken", &net.DNSError{Err: "server misbehaving", Name: "drain.invalid", IsTemporary: true}, "name server"},
		{"timeout", fmt.Errorf("wait: %w", context.DeadlineExceeded), "no answer in time"},
		{"closed", io.ErrUnexpectedEOF, "closed the connection"},
		{"unknown", errors.New("something"), "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sinks.TransportError(t.Context(), "send", c.err)
			sinktest.CheckAdvice(t, e)
			if e.Verdict != sinks.Retry || !strings.Contains(e.Message(), c.want) {
				t.Errorf("%v: %v, want %v: …%s…", e.Verdict, e, sinks.Retry, c.want)
			}
		})
	}
}

func TestTransportErrorCancel(t *testing.T) {
	why := errors.New("ttydrain stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	e := sinks.TransportError(ctx, "send", io.EOF)
	sinktest.CheckAdvice(t, e)
	if !errors.Is(e, context.Canceled) || !errors.Is(e, why) || e.Verdict != sinks.Retry || e.Reason == "" {
		t.Errorf("%v: %v", e.Verdict, e)
	}
	// The timeout of one request is not the caller's end.
	if e := sinks.TransportError(t.Context(), "send", context.Canceled); errors.Is(e, context.Canceled) {
		t.Errorf("%v is the caller's cancel", e)
	}
}

// TestTransportErrorQuotesNothing sends a secret to peers that send it back in places which
// net/http quotes in its errors.
func TestTransportErrorQuotesNothing(t *testing.T) {
	const secret = "s3cr3t"
	authority := sinktest.NewAuthority(t)
	cert, key := authority.Issue(t, hour(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"%s\r\n\r\n", "HTTP/1.1 %s\r\n\r\n", "HTTP/1.1 200 OK\r\n%s\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n"} {
		t.Run(answer, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { // ends with the connection, or the listener
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				line, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprintf(conn, answer, strings.Fields(line)[1])
			}()
			transport, err := sinks.TLS{CAFile: authority.File}.Transport(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.Close()
			_, err = get(t, transport, "https://"+l.Addr().String()+"/?token="+secret)
			if err == nil || !strings.Contains(err.Error(), secret) {
				t.Fatalf("the error has no secret, so this tests nothing: %v", err)
			}
			for _, err := range []error{err, &url.Error{Op: "Get", URL: "https://u:" + secret + "@h/", Err: err}, &url.Error{Op: "Get", URL: "https://h/?" + secret, Err: io.EOF}} {
				e := sinks.TransportError(t.Context(), "send", err)
				if strings.Contains(e.Error(), secret) || e.Verdict != sinks.Retry || e.Reason == "" {
					t.Errorf("%v: %v", e.Verdict, e)
				}
			}
		})
	}
}
