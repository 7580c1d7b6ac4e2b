package e2e

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

var crashes = flag.Int("crashes", 4, "how many times TestCrash kills serve")

// A watcher keeps everything that a client has displayed.
type watcher struct {
	mu    sync.Mutex // guards shown
	shown []byte
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, p...)
	return len(p), nil
}

func (w *watcher) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.shown)
}

func (w *watcher) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.shown)
}

// TestCrash kills serve at random moments under load, and compares every byte that any client
// displayed with the records of the drains in the end.
func TestCrash(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(20, 26))
	elastic := elasticsearchDrain(t, "search") // before anything is started, so that missing servers are reported first
	drains := []*destination{
		elastic,
		httpsDrain(t, "ndjson", ", format: ndjson"),
		httpsDrain(t, "json", ""),
		syslogDrain(t, "rsyslog", syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true}), true),
	}
	site := newSite(t, withoutRaces, entries(drains))
	displayed := make(map[string][]byte) // by operation
	for range *crashes {
		server := site.serve()
		watchers, clients := server.showMuch()
		moment := rng.IntN(1 << rng.IntN(21))
		await(t, "for the clients to have seen enough", func() bool { return len(watchers[0].bytes()) > moment })
		server.signal(syscall.SIGKILL)
		server.status()
		clients.Wait()
		displayedBy(t, watchers, displayed)
	}
	if len(displayed) == 0 {
		t.Fatal("no session has shown anything")
	}
	server := site.serve()
	mustHave(t, drains, displayed)
	if status := server.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// showMuch opens three sessions with growing output, until serve is killed, which ends the group.
func (v *server) showMuch() (watchers []*watcher, clients *sync.WaitGroup) {
	clients = new(sync.WaitGroup)
	for range 3 {
		w := new(watcher)
		watchers = append(watchers, w)
		c := v.dial()
		clients.Go(func() {
			c.Run(v.site.t.Context(), client.Session{
				Command:  `x=$(printf %0200d 0); i=0; while :; do echo "line $((i++)) of a session that is going to be cut short, größe $x"; done`,
				Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}},
				Stdin:    new(forever), Stdout: w, Stderr: io.Discard,
			})
		})
	}
	return watchers, clients
}

// displayedBy collects what clients have displayed, by operation.
func displayedBy(t *testing.T, watchers []*watcher, displayed map[string][]byte) {
	t.Helper()
	for _, w := range watchers {
		shown := w.bytes()
		if m := bannerOperation.FindSubmatch(shown); m != nil {
			displayed[string(m[1])] = shown
		} else if len(shown) > 0 {
			t.Fatalf("a session without its operation: %.200q", shown)
		}
	}
}

// mustHave waits until drains have the ends of sessions that were cut short, and compares what
// these displayed with the records of the drains.
func mustHave(t *testing.T, drains []*destination, displayed map[string][]byte) {
	t.Helper()
	for _, d := range drains {
		for operation := range displayed {
			d.awaitEnds(t, operation)
		}
		arrived := d.arrived(t, 0)
		for operation, shown := range displayed {
			got := transcriptOf(t, d.name, arrived, operation, d.exact)
			if !bytes.HasPrefix(got.stdout, shown) {
				mustBe(t, d.name, "operation "+operation, got.stdout[:min(len(got.stdout), len(shown))], shown)
			}
			if got.end.Reason != "gateway lost" {
				t.Errorf("drain %s: operation %s ended with %q", d.name, operation, got.end.Reason)
			}
			if n := countOf(arrived, operation); d.dataStream != "" && n != len(got.records) {
				t.Errorf("drain %s: operation %s has %d records, and there are %d", d.name, operation, len(got.records), n)
			}
		}
	}
}

// countOf returns the number of records of an operation, including repeats.
func countOf(arrived []record, operation string) (n int) {
	for i := range arrived {
		if arrived[i].OperationID == operation {
			n++
		}
	}
	return n
}

// forever is an input without data or end.
type forever struct{}

func (*forever) Read([]byte) (int, error) { select {} }

// dial logs in as Ada, with the app web.
func (v *server) dial() *client.Client {
	t := v.site.t
	t.Helper()
	c, err := client.Dial(t.Context(), client.Options{Address: v.ssh, User: "web", Signers: []ssh.Signer{v.site.signer(v.site.key)}, HostKey: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// signer reads a private key.
func (s *site) signer(file string) ssh.Signer {
	s.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}
