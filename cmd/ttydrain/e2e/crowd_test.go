package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/client"
)

const (
	// crowdCommand shows some lines four times a second. Its input has no data and no end.
	crowdCommand = `i=0; while :; do for k in 1 2 3 4 5; do echo "line $((i++)) that somebody has seen, größe"; done; read -rt 0.25; done`
	// crowdBoth also writes to standard error.
	crowdBoth = `i=0; while :; do for k in 1 2 3 4 5; do echo "line $((i++)) that somebody has seen, größe"; done; echo "error $i" >&2; read -rt 0.25; done`
)

// notRecorded is the message of a session that ends because nothing can be recorded. It is not
// recorded itself.
var notRecorded = regexp.MustCompile(`\r\nttydrain: this session was ended, since what it shows can't be recorded now[^\r\n]*\r\n$`)

// A crowd is a number of users who open one session after the other, whatever happens, and keep
// everything that they have seen.
type crowd struct {
	site   *site
	signer ssh.Signer
	ctx    context.Context
	cancel context.CancelFunc
	people sync.WaitGroup

	mu       sync.Mutex // guards sessions
	sessions []*seen
}

// A seen holds what a user has seen of a session.
type seen struct {
	operation      string // "" if the session has not started has not begun
	stdout, stderr watcher
	told           bool // it ended because it could not be recorded
}

// forACrowd allows as many sessions as the largest plan: those that cannot be recorded, or whose
// gateway was killed, count for up to a minute more, in which each user opens others.
func (s *site) forACrowd() {
	s.t.Helper()
	s.edit("plan: growth", "plan: enterprise")
}

// newCrowd returns a crowd without users. It ends with the test at the latest.
func newCrowd(t testing.TB, s *site) *crowd {
	t.Helper()
	c := &crowd{site: s, signer: s.signer(s.key)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(c.leave)
	return c
}

// join adds a user with a gateway's address and a function that opens a session there.
func (c *crowd) join(address string, open func(ctx context.Context, address string, s *seen) error) {
	c.people.Go(func() { // ends with c.ctx
		for c.ctx.Err() == nil {
			s := new(seen)
			c.mu.Lock()
			c.sessions = append(c.sessions, s)
			c.mu.Unlock()
			open(c.ctx, address, s) // the gateway is gone a gateway that is gone
			select {
			case <-time.After(50 * time.Millisecond): // and may not be back yet
			case <-c.ctx.Done():
			}
		}
	})
}

// leave ends the sessions, and waits until all users have left.
func (c *crowd) leave() {
	c.cancel()
	c.people.Wait()
}

// terminal opens a session with a terminal, by ttydrain's own client.
func (c *crowd) terminal(ctx context.Context, address string, s *seen) error {
	return c.open(ctx, address, client.Session{
		Command: crowdCommand, Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}}, Stdout: &s.stdout, Stderr: io.Discard,
	})
}

// plain opens one without.
func (c *crowd) plain(ctx context.Context, address string, s *seen) error {
	return c.open(ctx, address, client.Session{Command: crowdBoth, Stdout: &s.stdout, Stderr: &s.stderr})
}

func (c *crowd) open(ctx context.Context, address string, s client.Session) error {
	conn, err := client.Dial(ctx, client.Options{Address: address, User: "web", Signers: []ssh.Signer{c.signer}, HostKey: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		return err
	}
	defer conn.Close()
	in, stdin := io.Pipe()
	defer stdin.Close()
	s.Stdin = in
	_, err = conn.Run(ctx, s)
	return err
}

// openSSH opens one with a terminal, by OpenSSH's client.
func (c *crowd) openSSH(ctx context.Context, address string, s *seen) error {
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-tt", "-p", port, "-i", c.site.key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "LogLevel=QUIET", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=none",
		"web@127.0.0.1", crowdCommand)
	cmd.Stdout = &s.stdout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	return cmd.Run()
}

// shown returns the number of bytes that the users have seen so far.
func (c *crowd) shown() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		n += s.stdout.len() + s.stderr.len()
	}
	return n
}

// lines returns the number of lines of programs that the users have seen so far.
func (c *crowd) lines() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		n += bytes.Count(s.stdout.bytes(), []byte("somebody has seen"))
	}
	return n
}

// awaitEnds waits, at a drain, for the ends of the sessions that could not be recorded: their
// gateway records them later by itself.
func (c *crowd) awaitEnds(d *destination) {
	t := c.site.t
	t.Helper()
	c.mu.Lock()
	var operations []string
	for _, s := range c.sessions {
		stdout, stderr := s.stdout.bytes(), s.stderr.bytes()
		if m := bannerOperation.FindSubmatch(slices.Concat(stdout, stderr)); m != nil && (notRecorded.Match(stdout) || notRecorded.Match(stderr)) {
			operations = append(operations, string(m[1]))
		}
	}
	c.mu.Unlock()
	d.awaitEnds(t, operations...)
}

// seen returns what was seen, by operation, after the users have left.
func (c *crowd) seen() map[string]*seen {
	t := c.site.t
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]*seen)
	for _, s := range c.sessions {
		for _, w := range []*watcher{&s.stdout, &s.stderr} {
			if at := notRecorded.FindIndex(w.shown); at != nil {
				w.shown, s.told = w.shown[:at[0]], true
			}
			if m := bannerOperation.FindSubmatch(w.shown); m != nil {
				s.operation = string(m[1])
			}
		}
		if s.operation != "" {
			if all[s.operation] != nil {
				t.Fatalf("two sessions are operation %s", s.operation)
			}
			all[s.operation] = s
			continue
		}
		for _, w := range []*watcher{&s.stdout, &s.stderr} {
			if bytes.Contains(w.shown, []byte("somebody has seen")) || len(w.shown) > 0 && !bytes.Contains(w.shown, []byte("can't be recorded")) {
				t.Fatalf("a session without its operation: %.200q", w.shown)
			}
		}
	}
	return all
}

// logSeen logs how much was seen.
func (c *crowd) logSeen(all map[string]*seen) {
	c.site.t.Helper()
	told := 0
	for _, s := range all {
		if s.told {
			told++
		}
	}
	c.site.t.Logf("%d sessions were seen, %d bytes; %d ended since they could not be recorded", len(all), c.shown(), told)
}

// check compares what was seen with the records of a drain, for which it waits: every byte that was
// seen, in order, of whole sessions. If once is set, the drain has each record once. If gaps is
// set, there may be gaps in the output that was not seen: it was in flight to the stream, and the
// output after it was stored.
func (c *crowd) check(t *testing.T, d *destination, all map[string]*seen, once, gaps bool) {
	t.Helper()
	d.awaitEnds(t, slices.Collect(maps.Keys(all))...)
	arrived := d.arrived(t, 0)
	mustBeInOrder(t, fault{drain: d, once: once}, arrived, nil)
	byOperation := make(map[string][]record)
	for _, r := range arrived {
		byOperation[r.OperationID] = append(byOperation[r.OperationID], r)
	}
	reasons := make(map[string]int)
	repeats := 0
	for operation, records := range byOperation { // including those without output that was seen
		got := transcriptOf(t, d.name, records, operation, d.exact)
		reasons[got.end.Reason]++
		repeats += len(records) - len(got.records)
		for _, gap := range got.events("gap") {
			t.Logf("drain %s: operation %s, which ended with %q: %s", d.name, operation, got.end.Reason, gap.Text)
			if !gaps {
				t.Errorf("drain %s: operation %s has a gap", d.name, operation)
			}
		}
		if s := all[operation]; s != nil {
			mustBegin(t, d.name, operation, got.stdout, s.stdout.shown)
			mustBegin(t, d.name, operation, got.stderr, s.stderr.shown)
		}
	}
	for operation := range all {
		if byOperation[operation] == nil {
			t.Errorf("drain %s has nothing of operation %s", d.name, operation)
		}
	}
	t.Logf("drain %s: %d operations, %d records, %d repeats; ends: %v", d.name, len(byOperation), len(arrived), repeats, reasons)
}

// mustBegin checks that the bytes at a drain begin with those that were seen.
func mustBegin(t testing.TB, drain, operation string, got, seen []byte) {
	t.Helper()
	if !bytes.HasPrefix(got, seen) {
		mustBe(t, drain, fmt.Sprintf("operation %s, of which %d bytes were seen and %d are there,", operation, len(seen), len(got)), got[:min(len(got), len(seen))], seen)
	}
}
