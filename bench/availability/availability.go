package availability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/bench/ssh"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// The limits of what users may notice of an attack.
const (
	availabilityUsers = 10
	maxEchoP99        = 250 * time.Millisecond
	// loginEvery is the interval at which each user opens another session, and the operator works.
	loginEvery = 3 * time.Second
	// recovery is the time after an attack within which descriptors and memory must be released.
	recovery = time.Minute
	// maxMoreFiles and maxMoreMiB are the limits of what is still in use then. The Go runtime keeps
	// some memory after a peak.
	maxMoreFiles, maxMoreMiB = 16, 32
)

// A sharedServer is a server that users and an attacker share.
type sharedServer struct {
	*ssh.Server
	admin  string // address
	token  string // of the operator
	config string // file
	key    string // file with the attacker's key
	binary string
	users  []gossh.Signer
}

// A Result is what the users and the operator noticed of an attack.
type Result struct {
	name           string
	Ended, Refused int           // ended sessions, and refused logins of users
	Denied         int           // refused requests of the operator
	p99            time.Duration // of echoes
	files, mib     int           // more than before, after the recovery
	Detail         error         // the first failure
}

func (r Result) passed() bool {
	return r.Ended+r.Refused+r.Denied == 0 && r.p99 <= maxEchoP99 && r.files <= maxMoreFiles && r.mib <= maxMoreMiB
}

// Run runs all attacks, or those named in only, each on a server of its own while ten users work,
// and prints a table. It returns an error if an attack missed a limit.
func Run(ctx context.Context, s *measure.Settings, only []string) error {
	return measure.InFolder(s, func() error {
		var results []Result
		for _, a := range Attacks() {
			if len(only) > 0 && !slices.Contains(only, a.Name) {
				continue
			}
			r, err := Measure(ctx, s, a, recovery)
			if err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
			s.Progress("%s: %+v", a.Name, r)
			results = append(results, r)
		}
		if len(results) == 0 {
			return errors.New("no attack has a name given with -only")
		}
		fmt.Println("| attack | sessions ended | logins refused | operator refused | echo p99, ms | descriptors left | MiB left | |\n|---|--:|--:|--:|--:|--:|--:|---|")
		missed := 0
		for _, r := range results {
			verdict := "passed"
			if !r.passed() {
				missed++
				verdict = "**missed**"
				if r.Detail != nil {
					verdict += ": " + strings.ReplaceAll(r.Detail.Error(), "\n", " ")
				}
			}
			fmt.Printf("| %s | %d | %d | %d | %.0f | %d | %d | %s |\n", r.name, r.Ended, r.Refused, r.Denied, measure.Milliseconds(r.p99), r.files, r.mib, verdict)
		}
		if missed > 0 {
			return fmt.Errorf("%d of %d attacks took something from the users", missed, len(results))
		}
		return nil
	})
}

// Measure runs one attack on a server of its own, and then waits until the server has recovered, at
// most for the recovery time.
func Measure(ctx context.Context, s *measure.Settings, a Attack, recovery time.Duration) (r Result, err error) {
	r.name = a.Name
	g, err := startSharedServer(ctx, s)
	if err != nil {
		return r, err
	}
	defer func() {
		g.Stop()
		g.Release()
	}()
	sessions := make([]*ssh.Session, availabilityUsers)
	for i := range sessions {
		if sessions[i], err = g.client(i).Open(ctx, ssh.EchoCommand); err != nil {
			return r, fmt.Errorf("open the session of user %d: %w", i, err)
		}
		defer sessions[i].Client.Close()
	}
	if _, err := g.Settled(ctx); err != nil {
		return r, err
	}
	// The baseline includes the memory and descriptors that sessions need, since all of them have
	// started: what is in use above it after the attack was caused by the attack.
	filesBefore, mibBefore, err := g.resources()
	if err != nil {
		return r, err
	}

	if err := g.observe(ctx, a, s.Attack, sessions, &r); err != nil {
		return r, err
	}
	for deadline := time.Now().Add(recovery); ; time.Sleep(time.Second) {
		files, mib, err := g.resources()
		if err != nil {
			return r, err
		}
		r.files, r.mib = files-filesBefore, mib-mibBefore
		if r.files <= maxMoreFiles && r.mib <= maxMoreMiB || time.Now().After(deadline) {
			return r, nil
		}
	}
}

// observe runs an attack while the users type, log in and the operator works, and notes in r what
// they notice.
func (g *sharedServer) observe(ctx context.Context, a Attack, duration time.Duration, sessions []*ssh.Session, r *Result) error {
	attacking, end := context.WithTimeout(ctx, duration)
	defer end()
	var mu sync.Mutex // guards r and took until the work ends
	var took []time.Duration
	note := func(count *int, err error) {
		mu.Lock()
		defer mu.Unlock()
		*count++
		r.Detail = errors.Join(r.Detail, err)
	}
	var work errgroup.Group
	work.Go(func() error { return g.attack(ctx, a.Name, duration) })
	from := time.Now()
	for i, t := range sessions {
		work.Go(func() error {
			mine, err := t.Type(from.Add(time.Duration(i)*ssh.TypeEvery/availabilityUsers), duration)
			if err != nil {
				note(&r.Ended, fmt.Errorf("session of user %d: %w", i, err))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			return nil
		})
		work.Go(func() error {
			every(attacking, time.Duration(i)*loginEvery/availabilityUsers, func() {
				if err := g.login(ctx, i); err != nil {
					note(&r.Refused, fmt.Errorf("login of user %d: %w", i, err))
				}
			})
			return nil
		})
	}
	work.Go(func() error {
		every(attacking, 0, func() {
			if err := a.operate(ctx, g); err != nil {
				note(&r.Denied, fmt.Errorf("operator: %w", err))
			}
		})
		return nil
	})
	if err := work.Wait(); err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.p99 = took[len(took)*99/100]
	}
	return nil
}

// attack runs an attack in a process of its own for some time.
func (g *sharedServer) attack(ctx context.Context, name string, duration time.Duration) error {
	t := target{Attack: name, Address: g.Address, Admin: g.admin, KeyFile: g.key, Lasts: duration}
	attacker, err := process.StartChild(ctx, "attacker", t, new(struct{}))
	if err != nil {
		return err
	}
	return attacker.Close()
}

// every calls do every loginEvery, the first time after first, until ctx is done.
func every(ctx context.Context, first time.Duration, do func()) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(loginEvery)
			do()
		case <-ctx.Done():
			return
		}
	}
}

// startSharedServer starts a server with a store of 64 MB, a drain, ten users, and an attacker on a
// stack of their own.
func startSharedServer(ctx context.Context, s *measure.Settings) (*sharedServer, error) {
	dir, err := os.MkdirTemp(s.Dir, "sharedServer-")
	if err != nil {
		return nil, err
	}
	g := &sharedServer{token: "an-operator-token-of-the-availability-suite", config: filepath.Join(dir, "ttydrain.yaml"), key: filepath.Join(dir, "u-attacker")}
	if g.binary, err = s.Binary(ctx); err != nil {
		return nil, err
	}
	address, err := process.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if g.admin, err = process.FreeAddress(ctx); err != nil {
		return nil, err
	}
	var users strings.Builder
	person := func(id, app string) (gossh.Signer, error) {
		key, err := ssh.NewKey(filepath.Join(dir, id))
		if err == nil {
			fmt.Fprintf(&users, "  - {id: %s, name: %s, email: %s@example.com, authorized_keys: [%s], apps: [%s]}\n", id, id, id,
				strconv.Quote(strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key.PublicKey())))), app)
		}
		return key, err
	}
	for i := range availabilityUsers {
		key, err := person(fmt.Sprintf("u-%d", i), "web")
		if err != nil {
			return nil, err
		}
		g.users = append(g.users, key)
	}
	if _, err = person("u-attacker", "other"); err != nil {
		return nil, err
	}
	r, err := receivers.Open(ctx, s, receivers.HTTPS)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`store: ./data
streams: {max_bytes: 64MB}
gateway: {listen: '%s', host_key: ./host_key}
admin: {listen: '%s', token: %s}
user_document: {issuer: 'https://auth.example.com', signing_key: ./document_key.pem}
users:
%sstacks:
  - {name: default, plan: enterprise}
  - {name: other, plan: enterprise}
apps:
  - {name: web, stack: default, runtime: sandbox, command: [/bin/sh]}
  - {name: other, stack: other, runtime: sandbox, command: [/bin/sh]}
drains:
  - {name: bench, type: https, url: 'https://%s/', ca_file: %s, format: %s}
`, address, g.admin, g.token, users.String(), r.Address, r.CAFile, https.NDJSON)
	server, err := process.StartTTYDrain(ctx, g.binary, dir, g.admin, text)
	if err != nil {
		r.Close()
		return nil, err
	}
	g.Server = &ssh.Server{Server: server, Address: address, User: "web", Release: func() { r.Close() }}
	return g, nil
}

// client returns the client of a user, who has an address of their own.
func (g *sharedServer) client(user int) *ssh.Client {
	return &ssh.Client{Signer: g.users[user], Server: g.Server, From: net.IPv4(127, 0, 1, byte(user+1))}
}

// login opens a session as a user, runs a command and ends.
func (g *sharedServer) login(ctx context.Context, user int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, err := g.client(user).Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	session.Stdout = io.Discard
	return session.Run("true")
}

// listSessions lists the sessions as an operator does on the machine.
func listSessions(ctx context.Context, g *sharedServer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, g.binary, "sessions", "list", "-c", g.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sessions list: %w: %s", err, out)
	}
	return nil
}

// resources returns the open descriptors and the resident memory of the server's process.
func (g *sharedServer) resources() (files, mib int, err error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.PID()))
	if err != nil {
		return 0, 0, err
	}
	m, err := process.MemoryOf(g.PID())
	return len(entries), int(m.Resident >> 20), err
}
