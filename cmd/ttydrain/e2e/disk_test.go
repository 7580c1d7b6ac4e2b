package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// noRoom is the end of the output of a session that cannot be recorded any more.
const noRoom = "\r\nttydrain: this session was ended: there is no room left to record what it shows; its operators have to make room, then try again\r\n"

// TestDiskFills: sessions end with the message when the disk of the store is full. Everything that
// was displayed is in the drains; and when there is room again, recording goes on.
func TestDiskFills(t *testing.T) {
	t.Parallel()
	const aLittle = 128 << 10
	for _, test := range []struct {
		name string
		left int64 // bytes that something else leaves, all at once
		kill bool  // ttydrain, while the disk is full
	}{
		{"with what sessions show", 12 << 20, false},
		{"with something else, to the last byte", 0, false},
		{"with something else, and ttydrain is killed", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rsyslog := syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true})
			drains := []*destination{httpsDrain(t, "ndjson", ", format: ndjson"), syslogDrain(t, "rsyslog", rsyslog, true)}
			site := newSite(t, withoutRaces, entries(drains))
			disk := bustest.NewDisk(t, site.store, 128)
			server := site.serve()
			type shown struct {
				watcher
				status int
				err    error
			}
			var people []*shown
			var clients sync.WaitGroup
			open := func(command string) *shown {
				w := new(shown)
				people = append(people, w)
				c := server.dial()
				clients.Go(func() { // ends with the session
					w.status, w.err = c.Run(t.Context(), client.Session{
						Command: command, Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}},
						Stdin: new(forever), Stdout: w, Stderr: w,
					})
				})
				return w
			}
			for range 3 {
				// Long lines: it is the bytes that fill the disk, and the records that take the time.
				open(`x=$(printf %01000d 0); i=0; while :; do echo "line $((i++)) of a session that is going to find the disk full, größe $x"; done`)
			}
			for i, w := range people {
				await(t, fmt.Sprintf("for client %d to have seen enough", i), func() bool { return len(w.bytes()) > aLittle })
			}
			reason, status := "not recorded", 255
			if test.left > 0 {
				// Delivered records would be removed, and the disk never be full.
				for _, d := range drains {
					server.operate("drains", "pause", d.name, "--yes")
				}
				reason, status = "no room", 128+int(syscall.SIGKILL)
			}
			disk.Fill(test.left)
			clients.Wait()
			for i, w := range people {
				// A session that writes faster than the store's space is checked may wait for its chunks
				// already: then it ends because they are refused.
				late := test.left > 0 && w.status == 255
				if w.err != nil || w.status != status && !late || !bytes.HasSuffix(w.bytes(), []byte(noRoom)) {
					b := w.bytes()
					t.Errorf("client %d: status %d, %v; the last it saw is %q", i, w.status, w.err, b[max(0, len(b)-300):])
				}
			}
			if test.left > 0 { // chunks of a session with much output are large: smaller ones may have found room
				disk.Fill(5 << 20)
			}
			await(t, "for serve to notice that the disk is full", func() bool {
				status, _ := server.get("/readyz")
				return status == 503
			})
			refused := open("echo never")
			clients.Wait()
			if text := string(refused.bytes()); refused.status != 255 || !strings.Contains(text, "there is no room left to record it") || strings.Contains(text, "never\r") {
				t.Errorf("with a full disk a session gave %d, %v, %q", refused.status, refused.err, text)
			}
			if status, body := server.get("/readyz"); status != 503 || !strings.Contains(string(body), "there is no space") {
				t.Errorf("with a full disk /readyz is %d %s", status, body)
			}
			if test.kill {
				server.signal(syscall.SIGKILL)
				server.status()
				reason = "gateway lost"
				server = site.launch() // with a disk that is full
				server.listens()
			}
			disk.Clear()
			if test.left > 0 {
				for _, d := range drains {
					server.operate("drains", "resume", d.name)
				}
			}
			people = people[:3]
			var again *shown
			await(t, "for a session", func() bool {
				again = open("echo there is room")
				clients.Wait()
				return again.status == 0
			})
			for restart := range 2 {
				all := append(people[:3:3], again)
				operations := make([]string, len(all))
				for i, w := range all {
					m := bannerOperation.FindSubmatch(w.bytes())
					if m == nil {
						t.Fatalf("a session without its operation: %.200q", w.bytes())
					}
					operations[i] = string(m[1])
				}
				for _, d := range drains {
					for _, operation := range operations {
						d.awaitEnds(t, operation)
					}
					arrived := d.arrived(t, 0)
					for i, w := range all {
						operation, display := operations[i], bytes.TrimSuffix(w.bytes(), []byte(noRoom))
						got := transcriptOf(t, d.name, arrived, operation, d.exact)
						if !bytes.HasPrefix(got.stdout, display) {
							mustBe(t, d.name, "operation "+operation, got.stdout[:min(len(got.stdout), len(display))], display)
						}
						late := test.left > 0 && w.status == 255 && got.end.Reason == "not recorded"
						if i < 3 && got.end.Reason != reason && !late || i == 3 && got.end.Reason != "exit" {
							t.Errorf("drain %s: operation %s ended with %q", d.name, operation, got.end.Reason)
						}
					}
				}
				if restart == 0 {
					if status := server.stop(); status != 0 {
						t.Errorf("serve ended with %d", status)
					}
					server = site.serve()
				}
			}
			if status := server.stop(); status != 0 {
				t.Errorf("serve ended with %d", status)
			}
		})
	}
}
