package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

var reloads = flag.Int("reloads", 10_000, "how often TestReloads has the configuration loaded again")

const (
	// warmUp is the number of reloads after which memory no longer grows.
	warmUp = 600
	// mostLeft is the maximum growth of goroutines or descriptors at the end, since some are still
	// closing: much less than one for every hundred reloads.
	mostLeft = 25
	// mostHeap is the maximum growth of the bytes in use at the end, if the NATS server is another
	// process: less than a KiB for each valid configuration.
	mostHeap = 2 << 20
)

// Log messages of a reload.
const (
	reloaded = "configuration reloaded"
	refused  = "configuration refused"
)

// A rewriter rewrites a site's configuration repeatedly, and makes the running server load it.
type rewriter struct {
	v    *server
	text string // of the original configuration all others are made
	// good and bad return other configurations, in turn.
	good, bad []func() string
	steps     int // so far
}

// newRewriter makes a rewriter that changes a drain with a certain entry.
func newRewriter(v *server, entry string) *rewriter {
	site := v.site
	text, err := os.ReadFile(site.config)
	if err != nil {
		site.t.Fatal(err)
	}
	r := &rewriter{v: v, text: string(text)}
	site.newKey("bob")
	secrets := 0
	header := func(value string) string {
		return r.with(entry, strings.Replace(entry, "headers: {", fmt.Sprintf("headers: {X-Revision: %q, ", value), 1))
	}
	r.good = []func() string{
		func() string { return r.text },
		func() string { return r.with(entry, strings.TrimSuffix(entry, "}")+", batch: {records: 100}}") },
		func() string { return r.with("\n  - "+entry, "") },
		func() string {
			return r.with("users:\n", "users:\n  - {id: u-2, name: Bob, email: bob@example.com, authorized_keys: [./bob.pub], apps: [web]}\n")
		},
		func() string { // a different secret each time
			secrets++
			site.swap(filepath.Join(site.dir, "revision"), fmt.Sprint("secret-", secrets))
			return header("file:revision")
		},
		func() string { return r.with("plan: growth", "plan: scale") },
	}
	r.bad = []func() string{
		func() string { return r.with("users:\n", "users: [\n") },
		func() string { return r.with("plan: growth", "paln: growth") },
		func() string { return header("file:nothing") },
		func() string { return r.with("admin: {listen: 127.0.0.1:0}", "admin: {listen: 127.0.0.1:1}") },
		func() string { return r.with("apps: [web]", "apps: [wbe]") },
		func() string { return r.with(entry, "{name: another, type: https}") },
	}
	return r
}

// with returns the text with one part of it replaced.
func (r *rewriter) with(old, new string) string {
	if strings.Count(r.text, old) != 1 {
		r.v.site.t.Fatalf("%q is not there once:\n%s", old, r.text)
	}
	return strings.Replace(r.text, old, new, 1)
}

// step loads a valid configuration after an invalid one, or the other way round, and waits for the
// result.
//
// The result of an earlier load cannot be mistaken for it, although the file is polled as well:
// loads come one after the other, with results of the other kind between them.
func (r *rewriter) step() {
	t := r.v.site.t
	t.Helper()
	configurations, result := r.bad, refused
	if r.steps%2 == 1 {
		configurations, result = r.good, reloaded
	}
	text := configurations[r.steps/2%len(configurations)]()
	r.steps++
	r.load(text, result)
}

// load loads a configuration, and waits for the result.
func (r *rewriter) load(text, result string) {
	t := r.v.site.t
	t.Helper()
	seen := r.v.log.len()
	r.v.site.swap(r.v.site.config, text)
	r.v.signal(syscall.SIGHUP)
	for deadline := time.After(patience); !bytes.Contains(r.v.log.after(seen), []byte(result)); {
		select {
		case <-deadline:
			t.Fatalf("reload %d did not end with %q", r.steps, result)
		case <-time.After(time.Millisecond):
		}
	}
}

// A footprint is the resources that a server uses.
type footprint struct {
	goroutines, descriptors int
	consumers               int // on the NATS server, if that is another process
	heap                    int // bytes in use; see heap
}

// footprint returns the resources in use now. nats is nil for the embedded server, whose consumers
// are goroutines too. An error is that of a NATS server that did not answer in time.
func (v *server) footprint(nats jetstream.JetStream) (f footprint, err error) {
	t := v.site.t
	t.Helper()
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f.goroutines, f.descriptors = int(v.metric("go_goroutines")), len(descriptors)
	if nats == nil {
		return f, nil
	}
	streams := nats.ListStreams(t.Context())
	for s := range streams.Info() {
		f.consumers += s.State.Consumers
	}
	return f, streams.Err()
}

// heap returns the number of bytes in use after a garbage collection that began after the call.
// Requests for metrics make garbage.
func (v *server) heap() int {
	v.site.t.Helper()
	const collections = "go_gc_duration_seconds_count"
	for deadline, before := time.Now().Add(patience), v.metric(collections); v.metric(collections) < before+2; {
		if time.Now().After(deadline) {
			v.site.t.Fatalf("no garbage was collected within %s", patience)
		}
	}
	const gcPercent = 75 // of a process with a gateway
	return int(v.metric("go_memstats_next_gc_bytes")) * 100 / (100 + gcPercent)
}

// TestReloads makes serve load its configuration ten thousand times, alternately a valid and an
// invalid one, while sessions show lines and drains get them.
func TestReloads(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		testReloads(t, "", *reloads)
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		address := porttest.Reserve(t)
		startPart(t, "the NATS server", natsProgram(t), "-c", natsConfig(t, address, "")) // in this process, it would look for races
		testReloads(t, "nats://"+address, *reloads/2)
	})
}

// testReloads runs with the NATS server at url, or with the embedded one.
func testReloads(t *testing.T, url string, times int) {
	stays, comes := startTokenReceiver(t, "a-token"), startTokenReceiver(t, "a-token")
	stays.name, comes.name = "stays", "comes"
	entry := func(name string, r *tokenReceiver) string {
		return fmt.Sprintf(`{name: %s, type: https, format: ndjson, concurrency: 1, url: "https://%s/logs", ca_file: %q, headers: {Authorization: Bearer a-token}}`,
			name, r.address, r.ca)
	}
	site := newSite(t, withoutRaces, withDrains(entry("stays", stays), entry("comes", comes)))
	var js jetstream.JetStream
	if url != "" {
		site.edit("store: ./data", fmt.Sprintf("nats: {url: %q, replicas: 1, username: ttydrain, password: nats-password}", url))
		js = connectNATS(t, url)
	}
	v := site.serve()
	r := newRewriter(v, entry("comes", comes))
	sessions := []*faultSession{v.openFaultSession(faultCommand), v.openFaultSession(faultCommand)}
	lines := 0 // requested of each session to show
	load := func(until int) {
		t.Helper()
		for r.steps < until {
			for _, s := range sessions {
				fmt.Fprintln(s.stdin, 2) // they show them during the reload
			}
			lines += 2
			r.step()
		}
	}
	// idle waits until everything is idle, with the first configuration.
	idle := func() {
		t.Helper()
		r.load(r.good[0](), reloaded)
		for _, s := range sessions {
			await(t, "for a session to show all lines", func() bool { return s.stdout.lines.Load() >= int64(lines) })
			for _, d := range []*tokenReceiver{stays, comes} {
				await(t, "for the last line at a drain", func() bool { return d.inbox.has(s.operation(t), fmt.Sprintf(" %d "+faultMark, lines)) })
			}
		}
	}
	load(2)
	idle()
	before, err := v.footprint(js)
	if err != nil {
		t.Fatal(err)
	}
	load(warmUp)
	idle()
	before.heap = v.heap()
	began := time.Now()
	load(warmUp + times)
	t.Logf("%d reloads in %s, %d lines", times, time.Since(began).Round(time.Second), len(sessions)*lines)
	idle()
	var after footprint
	defer func() { t.Logf("before: %+v; after: %+v", before, after) }()
	free := func() bool {
		var err error
		if after, err = v.footprint(js); err != nil {
			t.Log(err) // a busy server may answer late
			return false
		}
		return after.goroutines <= before.goroutines+mostLeft && after.descriptors <= before.descriptors+mostLeft && after.consumers <= before.consumers
	}
	// A consumer whose deletion was not answered is removed by the server, within two checks of two
	// minutes each: longer than await waits.
	for begun := time.Now(); time.Since(begun) < patience && !free(); {
		<-time.After(time.Second)
	}
	await(t, "for what the reloads used to be free again", free)
	// The embedded server keeps a part of each record in memory, and so uses more than before.
	if js != nil {
		await(t, "for the memory that the reloads used to be free again", func() bool {
			after.heap = v.heap()
			return after.heap <= before.heap+mostHeap
		})
	}
	good, bad := v.reloads(reloadOK), v.reloads(reloadRefused)
	if half := (warmUp + times) / 2; good < half || bad < half {
		t.Errorf("%d reloads are counted as good and %d as bad, of %d each", good, bad, half)
	}

	for _, s := range sessions {
		s.end(t)
		stays.awaitEnds(t, s.operation(t))
		comes.awaitEnds(t, s.operation(t))
		for _, d := range []*tokenReceiver{stays, comes} {
			records := d.arrived(t, 0)
			mustBeInOrder(t, fault{drain: d.destination, once: d == stays}, records, nil)
			mustBe(t, d.name, "a session during reloads", transcriptOf(t, d.name, records, s.operation(t), true).stdout, s.stdout.bytes())
		}
	}
	comes.mustRepeatOnlyWrites(t)
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	mustNotLeak(t, "serve's log", v.log.String())
}

func connectNATS(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	var conn *nats.Conn
	await(t, "for the NATS server", func() bool {
		var err error
		conn, err = nats.Connect(url, nats.UserInfo("ttydrain", "nats-password"))
		return err == nil
	})
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// has reports whether a record of an operation with a text has arrived. It is fast for a recent
// one.
func (b *inbox) has(operation, text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.received) - 1; i >= 0; i-- {
		if r := &b.received[i].Record; r.OperationID == operation && strings.Contains(r.Log, text) {
			return true
		}
	}
	return false
}

// mustRepeatOnlyWrites checks that no acknowledged record was written again. With concurrency: 1,
// each of a drain's sinks has a connection of its own, on which it waits for each answer before it
// writes again: so all but the last request of a connection were acknowledged. The last one may
// have been abandoned, even if it arrives when others have written its records. With more it could
// not be decided: net/http assigns a connection to another request a moment before it returns the
// answer to the one before, which can be abandoned in that moment.
func (r *tokenReceiver) mustRepeatOnlyWrites(t testing.TB) {
	t.Helper()
	type identity struct {
		operation string
		sequence  uint64
	}
	connections, unsure := 0, make(map[time.Time]bool) // unsure are requests, by the time of their arrival
	for i, record := range r.inbox.received {
		// Not by the address only, which another connection can have later.
		if i+1 == len(r.inbox.received) || r.inbox.received[i+1].Peer != record.Peer {
			connections++
			unsure[record.At] = true
		}
	}
	seen, confirmed, repeats := make(map[identity]bool), make(map[identity]bool), 0
	for _, record := range r.inbox.received {
		id := identity{record.Record.OperationID, record.Record.Sequence}
		if seen[id] {
			repeats++
		}
		seen[id] = true
		if unsure[record.At] {
			continue
		}
		if confirmed[id] {
			t.Fatalf("drain %s: operation %s: record %d was written again after it had been confirmed", r.name, id.operation, id.sequence)
		}
		confirmed[id] = true
	}
	t.Logf("%d of %d records came again, from %d connections; %d are known to have been confirmed", repeats, len(seen), connections, len(confirmed))
	// There are as many as reloads found something to write: on a fast machine, few of thousands.
	if connections < 50 || len(confirmed) == 0 {
		t.Errorf("the drain %s has not come and gone: nothing was tested", r.name)
	}
}
