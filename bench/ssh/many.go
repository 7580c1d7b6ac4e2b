package ssh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

const (
	// TypeEvery is the interval at which a byte is typed in each session.
	TypeEvery = 200 * time.Millisecond
	// openAtOnce is the number of sessions that are opened concurrently.
	openAtOnce = 8
)

// manySessions measures an SSH server while many users type, each on a connection of their own.
type manySessions struct{ Subject }

func sessionServers() measure.Group {
	return measure.Group{
		&manySessions{Subject{key: "sessions/openssh", start: startOpenSSH}},
		&manySessions{Subject{key: "sessions/openssh+tlog", start: tlog.start}},
		&manySessions{Subject{key: "sessions/ttydrain", start: startAlone}},
	}
}

// MeasureMany measures the servers with many users, in one round: it takes long, and a round has
// many sessions on each server.
func MeasureMany(ctx context.Context, s *measure.Settings, chosen func(string) bool) ([]measure.Result, error) {
	once := *s
	once.Runs = min(1, s.Runs)
	return measure.Run(ctx, []measure.Group{sessionServers()}, &once, chosen)
}

func (d *manySessions) Prepare(ctx context.Context, s *measure.Settings) error {
	return d.serve(ctx, s)
}

func (d *manySessions) Run(ctx context.Context) (measure.Sample, error) {
	into := make(measure.Sample)
	if err := d.measure(ctx, into); err != nil {
		return nil, fmt.Errorf("%w; the server's output:\n%s", err, d.Server.Output())
	}
	return into, nil
}

// measure opens the sessions, types in all of them, and reads the server's memory while they are
// open.
func (d *manySessions) measure(ctx context.Context, into measure.Sample) error {
	if _, err := d.Server.Settled(ctx); err != nil {
		return err
	}
	before, err := process.FootprintOf(d.Server.PID())
	if err != nil {
		return err
	}
	n := d.settings.Terminals
	sessions := make([]*Session, n)
	defer func() {
		for _, t := range sessions {
			if t != nil {
				t.Client.Close()
			}
		}
		_, _ = d.Server.Settled(ctx) // so that the next server is measured on an idle machine
	}()
	began := time.Now()
	var opening errgroup.Group
	opening.SetLimit(openAtOnce)
	for i := range sessions {
		opening.Go(func() (err error) {
			if sessions[i], err = d.Open(ctx, EchoCommand); err != nil {
				return fmt.Errorf("open session %d: %w", i, err)
			}
			return nil
		})
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	into[measure.SessionsOpen], into[measure.SessionsRate] = float64(n), float64(n)/time.Since(began).Seconds()

	var mu sync.Mutex
	var took []time.Duration // guarded by mu
	var typing errgroup.Group
	began = time.Now()
	for i, t := range sessions {
		typing.Go(func() error {
			mine, err := t.Type(began.Add(time.Duration(i)*TypeEvery/time.Duration(n)), d.settings.Typing)
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
	into[measure.SessionsEcho] = float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	into[measure.SessionsP50], into[measure.SessionsP99] = measure.Milliseconds(took[len(took)/2]), measure.Milliseconds(took[len(took)*99/100])
	after, err := process.FootprintOf(d.Server.PID())
	if err != nil {
		return err
	}
	into[measure.ServerKiB] = float64(after.Server-before.Server) / float64(n)
	into[measure.ServerMoreKiB] = float64(after.Others-before.Others) / float64(n)
	into[measure.ServerAllKiB] = into[measure.ServerKiB] + into[measure.ServerMoreKiB]
	return nil
}
