package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Metrics of many sessions at once.
const (
	sessionsOpen  = "sessions"
	sessionsRate  = "sessions_opened_per_second"
	sessionsEcho  = "sessions_echoes_per_second"
	sessionsP50   = "sessions_echo_p50_ms"
	sessionsP99   = "sessions_echo_p99_ms"
	serverKiB     = "server_kibibytes_per_session"
	serverMoreKiB = "server_other_processes_kibibytes_per_session"
	serverAllKiB  = "server_all_kibibytes_per_session"
)

const (
	// typeEvery is how often a byte is typed in each session.
	typeEvery = 200 * time.Millisecond
	// openAtOnce is how many sessions are being opened at a time.
	openAtOnce = 8
)

// manySessions is an SSH server with many people, each on a connection of their own, who all type.
type manySessions struct{ sshSubject }

func sessionServers() group {
	return group{
		&manySessions{sshSubject{key: "sessions/openssh", start: startOpenSSH}},
		&manySessions{sshSubject{key: "sessions/openssh+tlog", start: tlog.start}},
		&manySessions{sshSubject{key: "sessions/ttydrain", start: startTtydrain}},
	}
}

// measureSessions measures them in one round: it takes long, and there are many sessions of each
// kind in it.
func measureSessions(ctx context.Context, s *settings, only []string) ([]result, error) {
	once := *s
	once.runs = min(1, s.runs)
	return measure(ctx, []group{sessionServers()}, &once, only)
}

func (d *manySessions) prepare(ctx context.Context, s *settings) error { return d.serve(ctx, s) }

func (d *manySessions) run(ctx context.Context) (sample, error) {
	into := make(sample)
	if err := d.measure(ctx, into); err != nil {
		return nil, fmt.Errorf("%w; the server's output:\n%s", err, d.server.output())
	}
	return into, nil
}

// measure opens the sessions, types in all of them, and looks at the server's memory while they are
// there.
func (d *manySessions) measure(ctx context.Context, into sample) error {
	if _, err := d.server.settled(ctx); err != nil {
		return err
	}
	before, err := footprintOf(d.server.cmd.Process.Pid)
	if err != nil {
		return err
	}
	n := d.settings.terminals
	sessions := make([]*terminalSession, n)
	defer func() {
		for _, t := range sessions {
			if t != nil {
				t.client.Close()
			}
		}
		_, _ = d.server.settled(ctx) // so that the next one is not disturbed
	}()
	began := time.Now()
	var opening errgroup.Group
	opening.SetLimit(openAtOnce)
	for i := range sessions {
		opening.Go(func() (err error) {
			if sessions[i], err = d.open(ctx, "stty raw -echo; printf '"+begin+"'; exec cat"); err != nil {
				return fmt.Errorf("open session %d: %w", i, err)
			}
			return nil
		})
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	into[sessionsOpen], into[sessionsRate] = float64(n), float64(n)/time.Since(began).Seconds()

	var mu sync.Mutex
	var took []time.Duration // guarded by mu
	var typing errgroup.Group
	began = time.Now()
	for i, t := range sessions {
		typing.Go(func() error {
			mine, err := t.types(began.Add(time.Duration(i)*typeEvery/time.Duration(n)), d.settings.typing)
			if err != nil {
				return fmt.Errorf("session %d: %w", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			return nil
		})
	}
	if err := typing.Wait(); err != nil {
		return err
	}
	into[sessionsEcho] = float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	into[sessionsP50], into[sessionsP99] = milliseconds(took[len(took)/2]), milliseconds(took[len(took)*99/100])
	after, err := footprintOf(d.server.cmd.Process.Pid)
	if err != nil {
		return err
	}
	into[serverKiB] = float64(after.server-before.server) / float64(n)
	into[serverMoreKiB] = float64(after.others-before.others) / float64(n)
	into[serverAllKiB] = into[serverKiB] + into[serverMoreKiB]
	return nil
}

// types types a byte at every typeEvery from a time on, for as long as it says, and gives how long
// each took from when it was to be typed to its echo: what is late makes those behind it late too,
// as it does for a person. Each echo is compared.
func (t *terminalSession) types(from time.Time, howLong time.Duration) (took []time.Duration, err error) {
	answer := make([]byte, 1)
	for due := from; due.Sub(from) < howLong; due = due.Add(typeEvery) {
		time.Sleep(time.Until(due))
		typed := []byte{byte('a' + len(took)%26)}
		if _, err := t.stdin.Write(typed); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(t.stdout, answer); err != nil {
			return nil, err
		}
		if answer[0] != typed[0] {
			return nil, fmt.Errorf("echo %d is %q in place of %q", len(took), answer, typed)
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}

// footprint is what a server has, in KiB: its first process (its resident set, all of it), and all
// others that are its own and not the sessions' commands (their proportional share of what they
// have in common).
type footprint struct{ server, others int64 }

// footprintOf looks at a process and its descendants.
func footprintOf(root int) (m footprint, err error) {
	first, err := memoryOf(root)
	if err != nil {
		return m, err
	}
	m.server = first.Resident >> 10
	tree, err := processTree(root)
	if err != nil {
		return m, err
	}
	delete(tree, root)
	for pid := range tree {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(name)) == "cat" {
			continue // it has ended meanwhile, or is a session's command
		}
		n, err := proportional(pid)
		if os.IsPermission(err) {
			return m, fmt.Errorf("look at the memory of process %d: %w", pid, err)
		}
		if err == nil {
			m.others += n
		}
	}
	return m, nil
}

// proportional is the proportional set of a process in KiB (proc_pid_smaps(5)).
func proportional(pid int) (int64, error) {
	file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no Pss", file)
}
