package syslog

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// relpLibraries are those that rsyslog's RELP can have its TLS from.
var relpLibraries = []string{"openssl", "gnutls"}

func TestRELPConformance(t *testing.T) {
	for _, library := range relpLibraries {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, func(t *testing.T) sinktest.Target {
				drain := syslogtest.StartRELP(t, syslogtest.Options{RequireClientCert: true}, library)
				proxy := sinktest.NewProxy(t, drain.Address)
				sink := open(t, Options{Protocol: RELP, Address: proxy.Address(), TLS: drain.TLS(), Token: "t0k3n", Exact: true})
				return sinktest.Target{Sink: sink, Proxy: proxy, Bytes: true, Received: func(t *testing.T, want int) []sinktest.Got {
					return received(t, drain, want)
				}}
			})
		})
	}
}

// TestRELPKilled kills rsyslog in the middle of batches: what it has confirmed is not sent again,
// except where its responses were lost, and nothing is missing. Only the first half of a batch
// reaches the server, so that no kill comes too late.
func TestRELPKilled(t *testing.T) {
	drain := syslogtest.StartRELP(t, syslogtest.Options{}, "openssl")
	proxy := sinktest.NewProxy(t, drain.Address)
	options := Options{Protocol: RELP, Address: proxy.Address(), TLS: drain.TLS()}
	sink := open(t, options)
	defer sink.Close()
	const records, rounds = 4000, 4
	b := newBatch(options)
	b.encode(numbered(1, records, 200))
	proxy.HoldAfter(b.frames[records/2])
	confirmed := 0
	for range rounds {
		write(t, sink, numbered(confirmed+1, 10, 50)) // the connection is not a new one
		confirmed += 10
		before := len(joined(t, drain.Lines(t, 0)))
		done := make(chan error, 1)
		batch := numbered(confirmed+1, records, 200)
		go func() { done <- sink.Write(t.Context(), batch) }() // ends with the server
		received(t, drain, before+rand.IntN(records/4)+1)
		drain.Kill(t)
		err := <-done
		drain.Start(t)
		if err == nil {
			t.Fatal("half a batch was confirmed as a whole")
		}
		e := sinks.AsError(err)
		if e.Verdict != sinks.Retry {
			t.Fatal(err)
		}
		if len(e.Items) > 0 {
			confirmed += e.Items[0].Index
		}
	}
	proxy.HoldAfter(0)
	write(t, sink, numbered(confirmed+1, 1, 50))
	confirmed++
	got := received(t, drain, confirmed)
	holds(t, drain, confirmed)
	times := make(map[uint64]int)
	for _, g := range got {
		times[g.Sequence]++
	}
	repeats := 0
	for _, n := range times {
		repeats += n - 1
	}
	if repeats > rounds*relpWindow {
		t.Errorf("%d records came again after %d failures", repeats, rounds)
	}
}

// TestRELPRestart: a server that was restarted between two batches costs at most a retry.
func TestRELPRestart(t *testing.T) {
	drain := syslogtest.StartRELP(t, syslogtest.Options{}, "openssl")
	sink := open(t, Options{Protocol: RELP, Address: drain.Address, TLS: drain.TLS()})
	defer sink.Close()
	for i := range 5 {
		write(t, sink, numbered(1+10*i, 10, 50))
		drain.Restart(t)
	}
	drain.Stop(t)
	checkVerdict(t, sink.Probe(t.Context()), sinks.Retry, "nothing listens there")
	drain.Start(t)
	sink.lifetime = 0 // each batch has a connection of its own from here
	for i := range 5 {
		write(t, sink, numbered(51+i, 1, 50))
	}
	holds(t, drain, 55)
}

func TestRELPTLS(t *testing.T) {
	for _, library := range relpLibraries {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			drain := syslogtest.StartRELP(t, syslogtest.Options{RequireClientCert: true}, library)
			other := syslogtest.NewCertificates(t)
			refused := sinks.Misconfigured
			if library == "gnutls" { // librelp sends no alert then
				refused = sinks.Retry
			}
			for _, test := range []struct {
				name    string
				tls     sinks.TLS
				verdict sinks.Verdict
				reason  string // "" where it has to work
			}{
				{"good", drain.TLS(), 0, ""},
				{"no client certificate", sinks.TLS{CAFile: drain.CAFile}, refused, "client certificate"},
				{"client certificate by another authority", sinks.TLS{CAFile: drain.CAFile, CertFile: other.ClientCertFile, KeyFile: other.ClientKeyFile}, refused, "client certificate"},
				{"unknown authority", sinks.TLS{CAFile: other.CAFile}, sinks.Misconfigured, "ca_file"},
				{"another name", sinks.TLS{CAFile: drain.CAFile, ServerName: "logs.example.com"}, sinks.Misconfigured, "server_name"},
			} {
				if library == "gnutls" && strings.Contains(test.name, "another authority") {
					continue // librelp takes it
				}
				t.Run(test.name, func(t *testing.T) {
					sink := open(t, Options{Protocol: RELP, Address: drain.Address, TLS: test.tls})
					defer sink.Close()
					if test.reason == "" {
						write(t, sink, numbered(1, 1, 10))
						return
					}
					checkVerdict(t, sink.Probe(t.Context()), test.verdict, test.reason)
					checkVerdict(t, sink.Write(t.Context(), numbered(1, 1, 10)), test.verdict, test.reason)
				})
			}
		})
	}
}

// TestRELPSteps: a test of the drain has the opening of a session as a step, and says which one
// failed.
func TestRELPSteps(t *testing.T) {
	entry := numbered(1, 1, 50)[0]
	steps := func(o Options) []probe.Step {
		sink := open(t, o)
		defer sink.Close()
		all, _ := sinks.Try(t.Context(), sink, &entry)
		return all
	}
	results := func(all []probe.Step) (s string) {
		for _, step := range all {
			s += step.Name + " " + step.Result + ", "
		}
		return s
	}
	good := syslogtest.StartRELP(t, syslogtest.Options{}, "openssl")
	all := steps(Options{Protocol: RELP, Address: good.Address, TLS: good.TLS()})
	// The certificate ends tomorrow, which is a warning.
	if got := results(all); got != "DNS ok, TCP ok, TLS warning, authentication ok, RELP ok, acceptance ok, " {
		t.Errorf("%s: %+v", got, all)
	}
	if facts := fmt.Sprint(all); !strings.Contains(facts, "its software is librelp") || !strings.Contains(facts, "responsible for it now") {
		t.Errorf("%+v", all)
	}

	for _, certificate := range []bool{false, true} {
		// It takes the opening for a frame, and answers nothing.
		plain := syslogtest.StartSyslogNG(t, syslogtest.Options{RequireClientCert: certificate})
		all = steps(Options{Protocol: RELP, Address: plain.Address, TLS: plain.TLS(), Timeout: 3 * time.Second})
		if got := results(all); !strings.HasPrefix(got, "DNS ok, TCP ok, TLS warning, ") || !strings.Contains(got, "RELP failed, acceptance not tried") {
			t.Errorf("%s: %+v", got, all)
		}
		i := slices.IndexFunc(all, func(s probe.Step) bool { return s.Name == stepRELP })
		if i < 0 || !strings.HasPrefix(all[i].Do, "look ") || !strings.Contains(all[i].Do, "set protocol to tcp") ||
			strings.Contains(all[i].Do, "client certificate") != certificate {
			t.Errorf("with a client certificate: %v: %+v", certificate, all)
		}
	}
}

// TestRELPFakes has servers that do what a real one rarely does.
func TestRELPFakes(t *testing.T) {
	const offers = "200 OK\nrelp_version=0\nrelp_software=test\ncommands=syslog"
	// frames reads the client's frames and gives each to answer.
	frames := func(conn *tls.Conn, answer func(transaction int, command string)) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		for {
			var transaction, length int
			var command string
			if _, err := fmt.Fscanf(r, "%d %s %d", &transaction, &command, &length); err != nil {
				return
			}
			rest := 1 // the line end
			if length > 0 {
				rest += 1 + length // a space and the data
			}
			if _, err := r.Discard(rest); err != nil {
				return
			}
			answer(transaction, command)
		}
	}
	send := func(conn *tls.Conn, transaction int, command, data string) {
		conn.Write(appendFrame(nil, transaction, command, data))
	}
	for _, test := range []struct {
		name   string
		serve  func(*tls.Conn)
		want   string // of the error of three records; "" for none
		items  int    // that are left; 0 for all
		status int
	}{
		{"answers in another order", func(conn *tls.Conn) {
			var waiting []int
			frames(conn, func(n int, command string) {
				if command == "open" {
					send(conn, n, "rsp", offers)
					return
				}
				if waiting = append(waiting, n); len(waiting) == 3 {
					for _, n := range slices.Backward(waiting) {
						send(conn, n, "rsp", "200 OK")
					}
				}
			})
		}, "", 0, 0},
		{"a record is refused", func(conn *tls.Conn) {
			frames(conn, func(n int, command string) {
				switch {
				case command == "open":
					send(conn, n, "rsp", offers)
				case n == 3:
					send(conn, n, "rsp", "500 SECRET is not taken")
				default:
					send(conn, n, "rsp", "200 OK")
				}
			})
		}, "answered 500 to a record", 2, 500},
		{"the session is refused", func(conn *tls.Conn) {
			frames(conn, func(n int, _ string) { send(conn, n, "rsp", "500 no SECRET") })
		}, "answered 500 to the opening", 0, 0},
		{"no syslog", func(conn *tls.Conn) {
			frames(conn, func(n int, _ string) { send(conn, n, "rsp", "200 OK\nrelp_version=0\ncommands=other") })
		}, "does not offer to take syslog", 0, 0},
		{"the session is closed by a hint", func(conn *tls.Conn) {
			frames(conn, func(n int, command string) {
				if command == "open" {
					send(conn, n, "rsp", offers)
				} else if n == 2 {
					send(conn, n, "rsp", "200 OK")
					send(conn, 0, "serverclose", "")
				}
			})
		}, "closed the connection", 2, 0},
		{"an answer to what was not sent", func(conn *tls.Conn) {
			frames(conn, func(n int, command string) { send(conn, n+10, "rsp", offers) })
		}, "does not speak RELP", 0, 0},
		{"HTTP", func(conn *tls.Conn) {
			conn.Read(make([]byte, 10))
			conn.Write([]byte("HTTP/1.1 400 Bad Request: SECRET\r\n\r\n"))
		}, "does not speak RELP", 0, 0},
		{"no answer", func(conn *tls.Conn) {
			frames(conn, func(n int, command string) {
				if command == "open" {
					send(conn, n, "rsp", offers)
				} else if n == 2 {
					send(conn, n, "rsp", "200 OK")
				}
			})
		}, "given up before the drain had confirmed", 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address, trust := listen(t, 0, func(conn *tls.Conn) { go test.serve(conn) }) // ends with the connection
			sink := open(t, Options{Protocol: RELP, Address: address, TLS: trust, Timeout: time.Second})
			defer sink.Close()
			err := sink.Write(t.Context(), numbered(1, 3, 50))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *sinks.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || len(e.Items) != test.items || e.Status != test.status {
				t.Errorf("%+v", e)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error quotes the server: %v", err)
			}
			if stalled := test.name == "no answer"; stalled != (e.TimedOut > 0) || stalled && e.TimedOut != 2 {
				t.Errorf("timed out: %d", e.TimedOut)
			}
		})
	}
}

// TestRELPWindow: no more frames than the window are unanswered, and parts of records are frames of
// their own.
func TestRELPWindow(t *testing.T) {
	b := newBatch(Options{Protocol: RELP})
	b.transaction = 2
	batch := numbered(1, 3, 50)
	batch[1] = numbered(2, 1, 20_000)[0]
	data := string(b.encode(batch))
	if len(b.frames) < 5 || b.transaction != 2+len(b.frames) || b.frames[len(b.frames)-1] != len(data) {
		t.Fatalf("%d frames, the next is %d", len(b.frames), b.transaction)
	}
	from := 0
	for i, end := range b.frames {
		head := fmt.Sprintf("%d syslog ", i+2)
		if !strings.HasPrefix(data[from:], head) || data[end-1] != '\n' {
			t.Errorf("frame %d is %.50q", i, data[from:end])
		}
		from = end
	}
	if b.confirmed(b.frames[0]) != 1 || b.confirmed(b.frames[1]) != 1 || b.confirmed(len(data)) != 3 || b.confirmed(b.frames[len(b.frames)-2]) != 2 {
		t.Errorf("frames end at %v, entries at %v", b.frames, b.ends)
	}
}

// FuzzRELPFrame: whatever a server sends is a frame or an error.
func FuzzRELPFrame(f *testing.F) {
	for _, s := range []string{"1 rsp 6 200 OK\n", "0 serverclose 0\n", "1 rsp 0 \n", "1 rsp 99999999999 \n", "HTTP/1.1 400", "1  6 200 OK\n", "-1 rsp 1 x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := readFrame(bufio.NewReader(strings.NewReader(s)))
		if err != nil {
			return
		}
		again := string(appendFrame(nil, got.transaction, got.command, got.data))
		parsed, err := readFrame(bufio.NewReader(strings.NewReader(again)))
		if err != nil || parsed != got {
			t.Fatalf("%q is %+v, and %q is %+v: %v", s, got, again, parsed, err)
		}
	})
}
