package receive

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// line returns a message as ttydrain's syslog sink writes it.
func line(operation string, sequence int, text string) string {
	return fmt.Sprintf(`<190>1 2026-03-01T09:30:00.000001Z gateway-1 web %s output [session@32473 operation_id="%s" sequence="%d" offset="12" digest="%s"][meta sequenceId="%d"] tok3n operation_id=%s %s`,
		operation, operation, sequence, strings.Repeat("ab", 32), sequence, operation, text)
}

func counted(messages ...string) []byte {
	var b bytes.Buffer
	for _, m := range messages {
		fmt.Fprintf(&b, "%d %s", len(m), m)
	}
	return b.Bytes()
}

func lines(messages ...string) []byte { return []byte(strings.Join(messages, "\n") + "\n") }

func TestSyslogFramings(t *testing.T) {
	b := start(t, Options{})
	messages := []string{line("7", 1, "first"), line("7", 2, "second, f\u00fcr \u65e5\u672c"), line("7", 3, "")}
	for name, stream := range map[string][]byte{"counted": counted(messages...), "lines": lines(messages...)} {
		check := func(t *testing.T) {
			t.Helper()
			for i, want := range messages {
				got := b.next()
				if string(got.Raw) != want || got.Drain != Syslog || got.Syslog == nil || got.At.IsZero() || got.Peer == "" {
					t.Errorf("got %+v with %s, want %s", got, got.Raw, want)
				}
				text := strings.TrimPrefix(want[strings.Index(want, "tok3n"):], "tok3n operation_id=7 ")
				if r := got.Record; r.OperationID != "7" || r.Sequence != uint64(i)+1 || r.Offset != "12" || r.Event != "output" ||
					r.Text != text || r.Host != "gateway-1" || r.App != "web" || r.Digest != strings.Repeat("ab", 32) || r.Timestamp.IsZero() {
					t.Errorf("decoded %+v", r)
				}
			}
			b.none()
		}
		t.Run(name+" at once", func(t *testing.T) {
			conn := b.dial()
			defer conn.Close()
			if _, err := conn.Write(stream); err != nil {
				t.Fatal(err)
			}
			check(t)
		})
		t.Run(name+" byte by byte", func(t *testing.T) {
			conn := b.dial()
			defer conn.Close()
			for i := range stream {
				if _, err := conn.Write(stream[i : i+1]); err != nil {
					t.Fatal(err)
				}
			}
			check(t)
		})
		t.Run(name+" split at every byte", func(t *testing.T) {
			conn := b.dial()
			defer conn.Close()
			for i := range stream {
				for _, part := range [][]byte{stream[:i], stream[i:]} {
					if _, err := conn.Write(part); err != nil {
						t.Fatal(err)
					}
				}
				check(t)
			}
		})
		t.Run(name+" without close_notify", func(t *testing.T) {
			conn := b.dial()
			if _, err := conn.Write(stream); err != nil {
				t.Fatal(err)
			}
			conn.NetConn().Close()
			check(t)
		})
	}
	if log := b.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestSyslogRecord(t *testing.T) {
	b := start(t, Options{})
	conn := b.dial()
	conn.Write(counted(
		`<190>1 2026-03-01T09:30:00Z h web 7 start [session@32473 operation_id="7" sequence="1" operation_user_name="Ada \"A\" Lovelace" operation_user_email="ada@example.com" interactive="true" width="80" height="24" command="ls"] operation_id=7 session started`,
		`<190>1 2026-03-01T09:30:00Z h web 7 output [session@32473 operation_id="7" sequence="2" stream="stderr" partial="true" log_base64="eP8K" timing="0:3"] operation_id=7 operation_id=7 x`,
		`<190>1 2026-03-01T09:30:00Z h web 7 end [session@32473 operation_id="7" sequence="3" exit_status="3" reason="exit" bytes="42" signature="a.b.c"] operation_id=7 ended`,
		`<190>1 - - other - - [session@32473 sequence="x" exit_status="y" bytes="-1" interactive="z" log_base64="%" width="w"] hello`,
	))
	r := b.next().Record
	if r.OperationUserName != `Ada "A" Lovelace` || r.OperationUserEmail != "ada@example.com" || r.Interactive == nil || !*r.Interactive ||
		r.Width != 80 || r.Height != 24 || r.Command != "ls" || r.Text != "session started" || r.Event != "start" {
		t.Errorf("start: %+v", r)
	}
	if r = b.next().Record; r.Stream != "stderr" || !r.Partial || string(r.Exact()) != "x\xff\n" || r.Timing != "0:3" || r.Text != "operation_id=7 x" {
		t.Errorf("output: %+v", r)
	}
	if r = b.next().Record; r.ExitStatus == nil || *r.ExitStatus != 3 || r.Reason != "exit" || r.Bytes == nil || *r.Bytes != 42 || r.Signature != "a.b.c" {
		t.Errorf("end: %+v", r)
	}
	if r = b.next().Record; r.Sequence != 0 || r.ExitStatus != nil || r.Bytes != nil || r.Interactive != nil || r.Text != "hello" || r.App != "other" {
		t.Errorf("another's message: %+v", r)
	}
}

func TestSyslogRefuses(t *testing.T) {
	const secret = "hunter2"
	good := line("7", 1, "good")
	for _, test := range []struct {
		name, reason string
		stream       []byte
	}{
		{"neither framing", "message 2: neither octet counting", append(counted(good), "x "+secret...)},
		{"not RFC 5424", "message 2: not RFC 5424: byte 4: VERSION must be 1", counted(good, "<13>Oct 11 22:14:15 host su: "+secret)},
		{"not RFC 5424, in lines", "message 2: not RFC 5424: byte 0", lines(good, secret)},
		{"too long", "message 2: message too long: more than 1000 bytes", append(counted(good), "1001 "+secret...)},
		{"a line too long", "message 2: message too long: more than 1000 bytes", lines(good, strings.Repeat(secret, 200))},
		{"an empty line", "message 2: empty line", append(lines(good), '\n')},
		{"another framing in between", "message 2: neither octet counting", append(counted(good), lines(good)...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, Options{MaxMessage: 1000})
			conn := b.dial()
			// The receiver may close while this is still writing.
			conn.Write(append(test.stream, counted(line("7", 2, "after"))...))
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection is open")
			}
			if got := b.next(); string(got.Raw) != good {
				t.Errorf("got %s", got.Raw)
			}
			b.log.waitFor(t, test.reason)
			if strings.Contains(b.log.String(), secret) {
				t.Errorf("the log quotes the message: %s", b.log)
			}
			b.none()

			again := b.dial()
			if _, err := again.Write(counted(good)); err != nil {
				t.Fatal(err)
			}
			b.next()
		})
	}
}

func TestSyslogCutShort(t *testing.T) {
	b := start(t, Options{})
	conn := b.dial()
	stream := counted(line("7", 1, "whole"), line("7", 2, "cut"))
	if _, err := conn.Write(stream[:len(stream)-1]); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	b.next()
	b.log.waitFor(t, "message 2: the connection ended within a message")
	b.none()
}

func TestSyslogNeedsTLS(t *testing.T) {
	b := start(t, Options{})
	conn, err := net.Dial("tcp", b.SyslogAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(counted(line("7", 1, "plain")))
	io.Copy(io.Discard, conn) // until the receiver closes
	b.log.waitFor(t, "TLS: ")
	b.none()

	if untrusting, err := tls.Dial("tcp", b.SyslogAddr().String(), &tls.Config{ServerName: "localhost"}); err == nil {
		untrusting.Close()
		t.Error("the certificate is trusted without its authority")
	}
	old := &tls.Config{RootCAs: b.roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if outdated, err := tls.Dial("tcp", b.SyslogAddr().String(), old); err == nil {
		outdated.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestSyslogConcurrent(t *testing.T) {
	const clients, messages = 10, 100
	b := start(t, Options{})
	conns := make([]*tls.Conn, clients)
	for i := range conns {
		conns[i] = b.dial()
	}
	var sending sync.WaitGroup
	for c, conn := range conns {
		sending.Go(func() {
			frame := counted
			if c%2 == 0 {
				frame = lines
			}
			for i := range messages {
				if _, err := conn.Write(frame(line(fmt.Sprint(c), i+1, "x"))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	last := make(map[string]uint64)
	for range clients * messages {
		r := b.next().Record
		if r.Sequence != last[r.OperationID]+1 {
			t.Fatalf("operation %s: %d after %d", r.OperationID, r.Sequence, last[r.OperationID])
		}
		last[r.OperationID] = r.Sequence
	}
	b.none()
}

// TestSyslogStopReadsOn checks that clients learn of the stop and that their messages are read to
// the end.
func TestSyslogStopReadsOn(t *testing.T) {
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	var got []string // by the one caller of Handle, until Serve has returned
	b := start(t, Options{Grace: patience, Handle: func(r Received) {
		entered <- struct{}{}
		<-leave
		got = append(got, r.Record.Text)
	}})
	conn := b.dial()
	if _, err := conn.Write(counted(line("7", 1, "first"), line("7", 2, "second"))); err != nil {
		t.Fatal(err)
	}
	<-entered
	b.stop()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the client hears %v, want %v", err, io.EOF)
	}
	if _, err := conn.Write(counted(line("7", 3, "third"))); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	close(leave)
	if err := b.wait(); err != nil {
		t.Error(err)
	}
	if want := "first second third"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := net.Dial("tcp", b.SyslogAddr().String()); err == nil {
		t.Error("takes connections after the stop")
	}
}

// TestSyslogStopForces checks that clients do not block the stop: an idle one, one within a
// message, and one that has not begun with TLS.
func TestSyslogStopForces(t *testing.T) {
	b := start(t, Options{Grace: time.Millisecond})
	idle, within := b.dial(), b.dial()
	raw, err := net.Dial("tcp", b.SyslogAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	idle.Write(counted(line("7", 1, "first")))
	within.Write(append(counted(line("8", 1, "first")), "100 <"...))
	b.next()
	b.next()
	b.stop()
	if err := b.wait(); err != nil {
		t.Error(err)
	}
	for name, conn := range map[string]net.Conn{"idle": idle, "within a message": within, "without TLS": raw} {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%s: the connection is open", name)
		}
	}
	b.none()
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// TestSyslogStopWithManyClients checks that clients that read nothing do not block the stop.
func TestSyslogStopWithManyClients(t *testing.T) {
	b := start(t, Options{Grace: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var dialing sync.WaitGroup
	for range 20 {
		dialing.Go(func() { // ends when the listener is gone
			d := tls.Dialer{Config: &tls.Config{RootCAs: b.roots}}
			for ctx.Err() == nil {
				conn, err := d.DialContext(ctx, "tcp", b.SyslogAddr().String())
				if err != nil {
					return
				}
				conn.Write(counted(line("7", 1, "x")))
				conn.Close()
			}
		})
	}
	b.next()
	b.stop()
	if err := b.wait(); err != nil {
		t.Error(err)
	}
	cancel()
	dialing.Wait()
}
