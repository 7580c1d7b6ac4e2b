package receive

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds each wait for an event; a passing test never waits that long.
const patience = 30 * time.Second

// bench is a running receiver with its clients' side.
type bench struct {
	*Receiver
	t        *testing.T
	received chan Received
	log      *logBuffer
	roots    *x509.CertPool
	client   *http.Client
	stop     context.CancelFunc
	served   chan error // what Serve returned
}

func start(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{t: t, received: make(chan Received, 10_000), log: new(logBuffer), served: make(chan error, 1)}
	if o.HTTPS == "" && o.Syslog == "" {
		o.HTTPS, o.Syslog = "127.0.0.1:0", "127.0.0.1:0"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Handle == nil {
		o.Handle = func(r Received) { b.received <- r }
	}
	o.Logger = slog.New(slog.NewTextHandler(b.log, nil))
	var err error
	if b.Receiver, err = New(o); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(b.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	b.roots = x509.NewCertPool()
	if !b.roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate in ca.pem")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots}, ForceAttemptHTTP2: true}
	b.client = &http.Client{Transport: transport, Timeout: patience}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() { b.served <- b.Serve(ctx) }() // ends with the test
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := b.wait(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		checkNoGoroutines(t)
	})
	return b
}

// wait waits for Serve to return, and may be called again.
func (b *bench) wait() error {
	b.t.Helper()
	select {
	case err := <-b.served:
		b.served <- err
		return err
	case <-time.After(patience):
		b.t.Fatal("Serve does not return")
		return nil
	}
}

func (b *bench) next() Received {
	b.t.Helper()
	select {
	case r := <-b.received:
		return r
	case <-time.After(patience):
		b.t.Fatalf("nothing arrives; the log has: %s", b.log)
		return Received{}
	}
}

func (b *bench) none() {
	b.t.Helper()
	select {
	case r := <-b.received:
		b.t.Errorf("arrived: %s", r.Raw)
	default:
	}
}

func (b *bench) dial() *tls.Conn {
	b.t.Helper()
	conn, err := tls.Dial("tcp", b.SyslogAddr().String(), &tls.Config{RootCAs: b.roots})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// logBuffer collects the log.
type logBuffer struct {
	mu   sync.Mutex // guards text and more
	text bytes.Buffer
	more chan struct{} // closed at the next line; nil if nothing waits
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// waitFor waits until the log has the text.
func (l *logBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		found := strings.Contains(l.text.String(), text)
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("the log has no %q: %s", text, l)
		}
	}
}

// checkNoGoroutines fails the test if a goroutine of the receiver is left. Those of net/http end
// shortly after the stop, when they are scheduled.
func checkNoGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var left []string
		stacks := make([]byte, 4<<20)
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "pipeline/receive.(*") || strings.Contains(stack, "net/http.(*Server)") || strings.Contains(stack, "net/http.(*conn)") {
				if !strings.Contains(stack, "testing.tRunner") {
					left = append(left, stack)
				}
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
		runtime.Gosched()
	}
}

func TestNewRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	handle := func(Received) {}
	for _, test := range []struct {
		name, want string
		o          Options
	}{
		{"no handler", "Options.Handle is missing", Options{HTTPS: "127.0.0.1:0", Dir: t.TempDir()}},
		{"nothing to do", "nothing to listen on", Options{Dir: t.TempDir(), Handle: handle}},
		{"no folder", "a folder for the certificates is missing", Options{HTTPS: "127.0.0.1:0", Handle: handle}},
		{"half of the credentials", "user and password must be set together", Options{HTTPS: "127.0.0.1:0", Dir: t.TempDir(), Handle: handle, User: "ada"}},
		{"an address in use", "listen for syslog: listen tcp " + taken.Addr().String(), Options{HTTPS: "127.0.0.1:0", Syslog: taken.Addr().String(), Dir: t.TempDir(), Handle: handle}},
		{"no address", "listen for https: ", Options{HTTPS: "nowhere", Dir: t.TempDir(), Handle: handle}},
	} {
		r, err := New(test.o)
		if err == nil {
			r.Close()
			t.Errorf("%s: no error", test.name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
}

func TestClose(t *testing.T) {
	r, err := New(Options{HTTPS: "127.0.0.1:0", Dir: t.TempDir(), Handle: func(Received) {}})
	if err != nil {
		t.Fatal(err)
	}
	if r.SyslogAddr() != nil {
		t.Errorf("listens for syslog on %v", r.SyslogAddr())
	}
	address := r.HTTPSAddr().String()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the address is not free after Close: %v", err)
	}
	again.Close()
}

func TestListenerFails(t *testing.T) {
	for _, drain := range []Drain{HTTPS, Syslog} {
		r, err := New(Options{HTTPS: "127.0.0.1:0", Syslog: "127.0.0.1:0", Dir: t.TempDir(), Handle: func(Received) {}})
		if err != nil {
			t.Fatal(err)
		}
		broken := r.https
		if drain == Syslog {
			broken = r.syslog
		}
		broken.Close()
		if err := r.Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Serve: %v, want %v", drain, err, net.ErrClosed)
		}
		if _, err := net.Dial("tcp", r.HTTPSAddr().String()); err == nil {
			t.Errorf("%s: HTTPS is still listened on", drain)
		}
		if _, err := net.Dial("tcp", r.SyslogAddr().String()); err == nil {
			t.Errorf("%s: syslog is still listened on", drain)
		}
	}
	checkNoGoroutines(t)
}

func TestServeAfterCancel(t *testing.T) {
	r, err := New(Options{HTTPS: "127.0.0.1:0", Syslog: "127.0.0.1:0", Dir: t.TempDir(), Handle: func(Received) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Serve(ctx); err != nil {
		t.Error(err)
	}
	checkNoGoroutines(t)
}
