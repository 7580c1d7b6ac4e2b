package syslog

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// servers are the real ones, with each framing that they take.
var servers = []struct {
	name    string
	start   func(testing.TB, syslogtest.Options) *syslogtest.Server
	framing Framing
}{
	{"rsyslog octet", syslogtest.StartRsyslog, OctetCounting},
	{"rsyslog newline", syslogtest.StartRsyslog, Newline},
	{"syslog-ng octet", syslogtest.StartSyslogNG, OctetCounting},
	{"syslog-ng newline", syslogtest.StartSyslogNG, Newline},
}

func TestConformance(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, func(t *testing.T) sinktest.Target {
				drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline, RequireClientCert: true})
				proxy := sinktest.NewProxy(t, drain.Address)
				sink := open(t, Options{Address: proxy.Address(), TLS: drain.TLS(), Framing: server.framing, Token: "t0k3n", Exact: true, ConnectionGrace: 2 * time.Second})
				return sinktest.Target{Sink: sink, Proxy: proxy, Bytes: true, Received: func(t *testing.T, want int) []sinktest.Got {
					return received(t, drain, want)
				}}
			})
		})
	}
}

func open(t testing.TB, o Options) *Sink {
	t.Helper()
	sink, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// received returns the records that the server's file holds, at least want of them, read by a
// parser of ours from the messages as they came, which has to agree with what the server
// understood.
func received(t testing.TB, server *syslogtest.Server, want int) []sinktest.Got {
	t.Helper()
	for n := want; ; {
		messages := server.Lines(t, n)
		got := joined(t, messages)
		if len(got) >= want {
			return got
		}
		n = len(messages) + want - len(got)
	}
}

func joined(t testing.TB, messages []syslogtest.Message) []sinktest.Got {
	t.Helper()
	var got []sinktest.Got
	var joiner syslogtest.Joiner
	for _, m := range messages {
		p, err := syslogtest.Parse([]byte(m.Raw))
		if err != nil {
			t.Fatalf("%v: %q", err, m.Raw)
		}
		if m.Hostname != p.Hostname || m.App != p.App || m.ProcID != p.ProcID || m.MsgID != p.MsgID || m.Priority != strconv.Itoa(p.Priority) || m.Text != p.Text || !strings.Contains(m.Raw, m.SD) {
			t.Fatalf("the server understood another message:\n%+v\n%+v", m, p)
		}
		if p, err = joiner.Add(p); err != nil {
			t.Fatalf("%v: %q", err, m.Raw)
		}
		if p != nil {
			got = append(got, gotOf(t, p))
		}
	}
	return got
}

// gotOf returns the record of a message.
func gotOf(t testing.TB, p *syslogtest.Parsed) sinktest.Got {
	t.Helper()
	session := p.Params["session@32473"]
	sequence, err := strconv.ParseUint(session["sequence"], 10, 64)
	if err != nil {
		t.Fatalf("%v: %+v", err, p)
	}
	log, err := base64.StdEncoding.DecodeString(session["log_base64"])
	if err != nil {
		t.Fatalf("%v: %+v", err, p)
	}
	_, text, ok := strings.Cut(p.Text, "operation_id="+p.ProcID+" ")
	if !ok {
		t.Fatalf("the message does not have its operation: %+v", p)
	}
	if session["altered"] != "" {
		t.Fatalf("a safe text was changed: %+v", p)
	}
	return sinktest.Got{OperationID: session["operation_id"], Sequence: sequence, Event: p.MsgID, Log: log, Text: text}
}

// numbered makes n records of one operation, from a sequence on, with texts of a size.
func numbered(from, n, size int) []sinks.Entry {
	op := operation()
	text := []byte(strings.Repeat("x", size))
	entries := make([]sinks.Entry, n)
	for i := range entries {
		entries[i] = sinks.Entry{Operation: op, Record: &schema.Record{Sequence: uint64(from + i), Time: at, Text: text}}
	}
	return entries
}

// holds checks that the server has every record from 1 to n, whose first arrivals are in order.
func holds(t testing.TB, server *syslogtest.Server, n int) {
	t.Helper()
	count := 0
	for want := n; count < n; {
		got := received(t, server, want)
		next := uint64(1)
		for _, g := range got {
			if g.Sequence > next {
				t.Fatalf("record %d came where %d belongs", g.Sequence, next)
			}
			if g.Sequence == next {
				next++
			}
		}
		count, want = int(next-1), len(got)+1
	}
}

func TestRestartBetweenWrites(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing})
			defer sink.Close()
			write(t, sink, numbered(1, 10, 50))
			holds(t, drain, 10)
			drain.Restart(t)
			// The first message after the server ended its connection is the one that others lose.
			for i := range 20 {
				write(t, sink, numbered(11+i, 1, 50))
			}
			holds(t, drain, 30)

			drain.Stop(t)
			err := sink.Write(t.Context(), numbered(31, 1, 50))
			if e := sinks.AsError(err); strings.Contains(e.Message(), "before it had confirmed") || strings.Contains(e.Message(), "ended right behind") {
				err = sink.Write(t.Context(), numbered(31, 1, 50)) // the first one found out that the connection has ended
			}
			checkVerdict(t, err, sinks.Retry, "nothing listens there")
			checkVerdict(t, sink.Probe(t.Context()), sinks.Retry, "nothing listens there")
			drain.Start(t)
			write(t, sink, numbered(31, 1, 50))
			holds(t, drain, 31)
		})
	}
}

// write delivers a batch as the pipeline does: a Retry is written again.
func write(t testing.TB, sink sinks.Sink, batch []sinks.Entry) {
	t.Helper()
	var err error
	for range 5 {
		if err = sink.Write(t.Context(), batch); err == nil {
			return
		}
		if e := sinks.AsError(err); e.Verdict != sinks.Retry {
			break
		}
	}
	t.Fatalf("Write: %v", err)
}

func checkVerdict(t testing.TB, err error, want sinks.Verdict, reason string) {
	t.Helper()
	var e *sinks.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T, want an *sinks.Error: %v", err, err)
	}
	if e.Verdict != want || !strings.Contains(e.Message(), reason) || len(e.Items) > 0 {
		t.Fatalf("got %v: %q (%v), want %v with %q", e.Verdict, e.Message(), e, want, reason)
	}
}

// TestExpiredConnection: a connection that is too old is replaced, and nothing is sent twice.
func TestExpiredConnection(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing})
			defer sink.Close()
			sink.lifetime = 0
			for i := range 5 {
				write(t, sink, numbered(1+i, 1, 50))
			}
			holds(t, drain, 5)
			if got := received(t, drain, 5); len(got) != 5 {
				t.Errorf("the server has %d messages, want 5", len(got))
			}
		})
	}
}

func TestTLS(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline, RequireClientCert: true})
			other := syslogtest.NewCertificates(t)
			for _, test := range []struct {
				name   string
				tls    sinks.TLS
				reason string // "" where it has to work
			}{
				{"good", drain.TLS(), ""},
				{"no client certificate", sinks.TLS{CAFile: drain.CAFile}, "client certificate"},
				{"client certificate by another authority", sinks.TLS{CAFile: drain.CAFile, CertFile: other.ClientCertFile, KeyFile: other.ClientKeyFile}, "client certificate"},
				{"expired client certificate", sinks.TLS{CAFile: drain.CAFile, CertFile: drain.ExpiredCertFile, KeyFile: drain.ExpiredKeyFile}, "client certificate"},
				{"unknown authority", sinks.TLS{CAFile: other.CAFile}, "ca_file"},
				{"another name", sinks.TLS{CAFile: drain.CAFile, ServerName: "logs.example.com"}, "server_name"},
			} {
				t.Run(test.name, func(t *testing.T) {
					sink := open(t, Options{Address: drain.Address, TLS: test.tls, Framing: server.framing})
					defer sink.Close()
					if test.reason == "" {
						if err := sink.Probe(t.Context()); err != nil {
							t.Fatal(err)
						}
						write(t, sink, numbered(1, 1, 10))
						return
					}
					checkVerdict(t, sink.Probe(t.Context()), sinks.Misconfigured, test.reason)
					checkVerdict(t, sink.Write(t.Context(), numbered(1, 1, 10)), sinks.Misconfigured, test.reason)
				})
			}
		})
	}
}

// listen accepts one connection after the other with TLS and hands them to serve.
func listen(t *testing.T, buffer int, serve func(*tls.Conn)) (address string, o sinks.TLS) {
	t.Helper()
	certificates := syslogtest.NewCertificates(t)
	pair, err := tls.LoadX509KeyPair(certificates.ServerCertFile, certificates.ServerKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if buffer > 0 { // before there are connections: the kernel never takes back a window that it offered
		setReadBuffer(t, l, buffer)
	}
	go func() { // until the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			serve(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}))
		}
	}()
	return l.Addr().String(), sinks.TLS{CAFile: certificates.CAFile}
}

func setReadBuffer(t *testing.T, l net.Listener, bytes int) {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
	})
	if err := errors.Join(failed, err); err != nil {
		t.Fatalf("set the read buffer: %v", err)
	}
}

// TestNoHandshake: a peer that takes the connection and never says anything.
func TestNoHandshake(t *testing.T) {
	address, o := listen(t, 0, func(*tls.Conn) {})
	sink := open(t, Options{Address: address, TLS: o, Timeout: 300 * time.Millisecond})
	defer sink.Close()
	checkVerdict(t, sink.Write(t.Context(), numbered(1, 1, 10)), sinks.Retry, "given up")
	checkVerdict(t, sink.Probe(t.Context()), sinks.Retry, "given up")
}

// TestLastByte: a batch's last byte comes in a record of its own, whatever the batch's size.
func TestLastByte(t *testing.T) {
	records := make(chan int) // their sizes
	address, o := listen(t, 0, func(conn *tls.Conn) {
		data := make([]byte, 64<<10) // each Read gives one record
		for {
			n, err := conn.Read(data)
			if err != nil {
				return
			}
			select {
			case records <- n:
			case <-t.Context().Done():
				return
			}
		}
	})
	sink := open(t, Options{Address: address, TLS: o})
	defer sink.Close()
	for i, size := range []int{1, 100, 3000, 16 << 10, 100 << 10} {
		batch := numbered(i+1, 1, size)
		all := len(sink.batch.encode(batch))
		write(t, sink, batch)
		got, last := 0, 0
		for got < all {
			last = <-records
			got += last
		}
		if got != all || last != 1 {
			t.Errorf("a batch of %d bytes: %d came, the last record with %d", all, got, last)
		}
	}
}

// TestAnswers: a server of another kind, which answers what it does not understand.
func TestAnswers(t *testing.T) {
	const secret = "SECRET"
	address, o := listen(t, 0, func(conn *tls.Conn) {
		conn.Read(make([]byte, 100))
		conn.Write([]byte("HTTP/1.1 400 Bad Request: " + secret + "\r\n\r\n"))
		conn.Close()
	})
	sink := open(t, Options{Address: address, TLS: o})
	defer sink.Close()
	// The response can come after the acknowledgement. The next call tells it, and then the one
	// after.
	err := sink.Write(t.Context(), numbered(1, 1, 10))
	if err == nil {
		<-sink.conn.ended
		err = sink.Write(t.Context(), numbered(2, 1, 10))
	}
	checkVerdict(t, err, sinks.Misconfigured, "correct the address")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error quotes what the peer sent: %v", err)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Address: "logs.example.com:6514"}
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string // "" where they are good
	}{
		{"good", func(*Options) {}, ""},
		{"no address", func(o *Options) { o.Address = "" }, "host:port"},
		{"no port", func(o *Options) { o.Address = "logs.example.com" }, "host:port"},
		{"no host", func(o *Options) { o.Address = ":6514" }, "host:port"},
		{"port too large", func(o *Options) { o.Address = "a:65536" }, "from 1 to 65535"},
		{"port 0", func(o *Options) { o.Address = "a:0" }, "from 1 to 65535"},
		{"port by name", func(o *Options) { o.Address = "a:syslog-tls" }, "from 1 to 65535"},
		{"IPv6", func(o *Options) { o.Address = "[::1]:6514" }, ""},
		{"framing", func(o *Options) { o.Framing = 7 }, "framing 7"},
		{"token of two words", func(o *Options) { o.Token = "s3cret two" }, "one word"},
		{"token with a newline", func(o *Options) { o.Token = "s3cret\n" }, "one word"},
		{"facility", func(o *Options) { o.Facility = "lokal0" }, `"lokal0" is not one of kern`},
		{"severity", func(o *Options) { o.Severity = "loud" }, `"loud" is not one of emerg`},
		{"timeout", func(o *Options) { o.Timeout = -1 }, "negative"},
		{"TLS file", func(o *Options) { o.TLS.CAFile = "testdata/absent.pem" }, "does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := good
			test.change(&o)
			sink, err := New(o)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				if err := sink.Close(); err != nil {
					t.Fatal(err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want):
				t.Fatalf("got %v, want %q in it", err, test.want)
			case strings.Contains(err.Error(), "s3cret"):
				t.Fatalf("the error has the token: %v", err)
			}
		})
	}
}
